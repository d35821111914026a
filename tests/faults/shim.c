/* A disk that fails on command, for a process that is started with LD_PRELOAD=shim.so and DISK_FAULTS=FILE.

   FILE is read again whenever it changes; each line is one rule:

       OP MODE NTH PATH        write | sync | rename | unlink | truncate | create
       clock SECONDS           CLOCK_REALTIME is off by so much, CLOCK_MONOTONIC is not

   MODE: EIO, ENOSPC, EDQUOT, EROFS (the call fails), SHORT (a write takes half), TORN (a write takes half, then the
   process is killed), KILL (killed before the call), KILLED (killed after it), SLOW=MS (the call waits first).
   NTH: "3" the third matching call of a process since FILE was written, "3+" that and all later ones, "%7" each
   seventh. PATH: a part of the file's path; with $ at its end, the end of the path. Each fault that fires appends a line to FILE.fired.

   Everything is done with plain system calls: the shim must not meet itself. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES 16

struct rule {
    char op[16], mode[16], path[200];
    long nth, calls;
    int and_later, each;
};

static struct rule rules[RULES];
static int rule_count;
static long long skew_ns, seen_stamp = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void parse(char *text) {
    rule_count = 0;
    skew_ns = 0;
    for (char *line = strtok(text, "\n"); line && rule_count < RULES; line = strtok(NULL, "\n")) {
        struct rule *r = &rules[rule_count];
        char nth[16] = "";
        double seconds;
        memset(r, 0, sizeof *r);
        if (sscanf(line, "clock %lf", &seconds) == 1) {
            skew_ns = (long long)(seconds * 1e9);
        } else if (sscanf(line, "%15s %15s %15s %199s", r->op, r->mode, nth, r->path) == 4) {
            r->each = nth[0] == '%';
            r->nth = atol(nth + r->each);
            r->and_later = strchr(nth, '+') != NULL;
            rule_count++;
        }
    }
}

/* No signal reaches a thread that holds the lock: Python's handler writes to a pipe, and would come here once more. */
static void enter(sigset_t *before) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
    pthread_mutex_lock(&lock);
}

static void leave(const sigset_t *before) {
    pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* Under the lock: read FILE again when it changed. */
static const char *refresh(void) {
    const char *file = getenv("DISK_FAULTS");
    struct stat now;
    if (!file || syscall(SYS_newfstatat, AT_FDCWD, file, &now, 0) != 0) {
        rule_count = 0;
        skew_ns = 0;
        return NULL;
    }
    long long stamp = now.st_mtim.tv_sec * 1000000000LL + now.st_mtim.tv_nsec + now.st_ino;
    if (stamp != seen_stamp) {
        char text[4096];
        int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
        long size = fd < 0 ? 0 : syscall(SYS_read, fd, text, sizeof text - 1);
        if (fd >= 0) syscall(SYS_close, fd);
        text[size > 0 ? size : 0] = 0;
        parse(text);
        seen_stamp = stamp;
    }
    return file;
}

static void note(const char *file, const struct rule *r, const char *path) {
    char name[4096], line[4400];
    snprintf(name, sizeof name, "%s.fired", file);
    int size = snprintf(line, sizeof line, "%d %s %s %s\n", (int)getpid(), r->op, r->mode, path);
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        if (syscall(SYS_write, fd, line, size) < 0) { /* nothing can be done */ }
        syscall(SYS_close, fd);
    }
}

static void die(void) {
    syscall(SYS_kill, (long)getpid(), SIGKILL);
    for (;;) syscall(SYS_pause);
}

static int matches(const char *path, const char *part) {
    size_t size = strlen(part), whole = strlen(path);
    if (!size || part[size - 1] != '$') return strstr(path, part) != NULL;
    return whole >= size - 1 && !strncmp(path + whole - (size - 1), part, size - 1);
}

/* The mode of the rule that fires for this call, or 0. The path comes from `path`, else from `fd`. */
static const char *fault(const char *op, const char *path, int fd) {
    static __thread char mode[16];
    char target[4096], link[64];
    int saved = errno;
    const char *found = NULL;
    sigset_t signals;
    enter(&signals);
    const char *file = refresh();
    if (file && rule_count) {
        if (!path) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            long size = syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof target - 1);
            target[size > 0 ? size : 0] = 0;
            path = target;
        }
        for (int i = 0; i < rule_count && !found; i++) {
            struct rule *r = &rules[i];
            if (strcmp(r->op, op) != 0 || !matches(path, r->path)) continue;
            r->calls++;
            if (r->each ? r->calls % r->nth == 0 : r->calls == r->nth || (r->and_later && r->calls > r->nth)) {
                strcpy(mode, r->mode);
                found = mode;
                note(file, r, path);
            }
        }
    }
    leave(&signals);
    errno = saved;
    return found;
}

/* What to do before the call: 0 go on, 1 fail with errno set, 2 take half, 3 half and die, 4 die afterwards. */
static int before(const char *op, const char *path, int fd) {
    static const struct { const char *name; int code; } codes[] = {
        {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}};
    const char *mode = fault(op, path, fd);
    if (!mode) return 0;
    if (!strcmp(mode, "KILL")) die();
    if (!strcmp(mode, "SHORT")) return 2;
    if (!strcmp(mode, "TORN")) return 3;
    if (!strcmp(mode, "KILLED")) return 4;
    if (!strncmp(mode, "SLOW=", 5)) {
        long ms = atol(mode + 5);
        struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
        return 0;
    }
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (!strcmp(mode, codes[i].name)) {
            errno = codes[i].code;
            return 1;
        }
    return 0;
}

#define AFTER(verdict, result) do { if (verdict == 4) die(); return result; } while (0)

static ssize_t write_some(int fd, const struct iovec *parts, int count, off64_t at, int has_offset) {
    int verdict = before("write", NULL, fd);
    size_t want = 0;
    if (verdict == 1) return -1;
    for (int i = 0; i < count; i++) want += parts[i].iov_len;
    if ((verdict == 2 && want > 1) || verdict == 3) { /* the first half, one part at a time */
        size_t left = want / 2, done = 0;
        for (int i = 0; i < count && left; i++) {
            size_t take = parts[i].iov_len < left ? parts[i].iov_len : left;
            long n = has_offset ? syscall(SYS_pwrite64, fd, parts[i].iov_base, take, at + (off64_t)done)
                                : syscall(SYS_write, fd, parts[i].iov_base, take);
            if (n < 0) return done ? (ssize_t)done : -1;
            done += n;
            left -= n;
        }
        if (verdict == 3) die();
        return done;
    }
    ssize_t n;
    if (has_offset) n = count == 1 ? syscall(SYS_pwrite64, fd, parts->iov_base, parts->iov_len, at)
                                   : syscall(SYS_pwritev, fd, parts, count, (long)at, 0L);
    else n = count == 1 ? syscall(SYS_write, fd, parts->iov_base, parts->iov_len)
                        : syscall(SYS_writev, fd, parts, count);
    AFTER(verdict, n);
}

ssize_t write(int fd, const void *data, size_t size) {
    struct iovec one = {(void *)data, size};
    return write_some(fd, &one, 1, 0, 0);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_some(fd, parts, count, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    struct iovec one = {(void *)data, size};
    return write_some(fd, &one, 1, at, 1);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    struct iovec one = {(void *)data, size};
    return write_some(fd, &one, 1, at, 1);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return write_some(fd, parts, count, at, 1); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    return write_some(fd, parts, count, at, 1);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    (void)flags;
    return write_some(fd, parts, count, at, at != -1);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    return pwritev2(fd, parts, count, at, flags);
}

static int sync_one(int fd, long number) {
    int verdict = before("sync", NULL, fd);
    if (verdict == 1) return -1;
    int result = syscall(number, fd);
    AFTER(verdict, result);
}
int fsync(int fd) { return sync_one(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_one(fd, SYS_fdatasync); }

static int cut(int fd, off64_t size) {
    int verdict = before("truncate", NULL, fd);
    if (verdict == 1) return -1;
    int result = syscall(SYS_ftruncate, fd, size);
    AFTER(verdict, result);
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    int verdict = before("rename", to, -1);
    if (verdict == 1) return -1;
    int result = syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    AFTER(verdict, result);
}
int renameat(int from_fd, const char *from, int to_fd, const char *to) { return renameat2(from_fd, from, to_fd, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int folder, const char *path, int flags) {
    int verdict = before("unlink", path, -1);
    if (verdict == 1) return -1;
    int result = syscall(SYS_unlinkat, folder, path, flags);
    AFTER(verdict, result);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    if (flags & O_CREAT) {
        int verdict = before("create", path, -1);
        if (verdict == 1) return -1;
        int result = syscall(SYS_openat, folder, path, flags, mode);
        AFTER(verdict, result);
    }
    return syscall(SYS_openat, folder, path, flags, mode);
}
#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags, mode) return open_at(folder, path, flags, mode);
}

static long long skew(void) {
    sigset_t signals;
    enter(&signals);
    refresh();
    long long now = skew_ns;
    leave(&signals);
    return now;
}
int clock_gettime(clockid_t which, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, which, at);
    if (result == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        long long ns = at->tv_sec * 1000000000LL + at->tv_nsec + skew();
        at->tv_sec = ns / 1000000000LL;
        at->tv_nsec = ns % 1000000000LL;
    }
    return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

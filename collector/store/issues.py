"""Which issue an event joins: the hashes known so far, in memory; everything else about issues is in state.sqlite.

Rule (reference: grouping, hash list and group assignment): the event joins the issue that owns the first of its hashes
that is already known, and its other hashes are attached to that issue. Only when none is known the secondary ones are
looked up, and attached too.

A key is one integer, project and hash, so that 200,000 hashes take about 25 MB.
"""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from collector.model.event import EventRow
from collector.store.delta import NEW, REGRESSED, Delta, NewIssue, Retitled, configs_of, regressed
from collector.store.statuses import RESOLVED

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # the alphabet of Sentry's short ids


def base32(number: int) -> str:
    """The counter part of a short id: 1, 2, ... Z, 10."""
    text = ""
    while True:
        number, digit = divmod(number, 32)
        text = CROCKFORD[digit] + text
        if not number:
            return text


def short_id(slug: str, short_no: int) -> str:
    """SHOP-1A."""
    return f"{slug.upper()}-{base32(short_no)}"


@functools.lru_cache(2048)
def hash_key(project_id: int, digest: str) -> int:
    """One integer for a hash of a project."""
    try:
        number = int(digest, 16) if len(digest) == 32 else None
    except ValueError:
        number = None
    if number is None:  # not the usual md5: any text is allowed
        number = int.from_bytes(hashlib.blake2b(digest.encode("utf-8", "replace"), digest_size=20).digest(), "big")
    return project_id << 160 | number


class Assigned(NamedTuple):
    """The issue of one event and the flags of its occurrence."""

    issue_id: int
    flags: int


class Assignment:
    """The issues of one batch, not yet accepted: dropped without a trace when the commit fails."""

    def __init__(self, index: "IssueIndex") -> None:
        self._index = index
        self._known: dict[int, int] = {}
        self._next_id = index.next_id
        self._short_nos: dict[int, int] = {}
        self._looks: dict[int, int] = {}
        self._reopened: set[int] = set()
        self.new_issues: list[NewIssue] = []
        self.hashes: list[tuple[int, str, int]] = []
        self.configs: set[tuple[int, str]] = set()
        self.retitled: dict[int, Retitled] = {}

    def assign(self, row: EventRow) -> Assigned:
        """The issue of an event, a new one when none of its hashes is known."""
        project_id, digests = row.project_id, row.hashes
        known, learnt = self._index.known, self._known
        found, missing = 0, False
        for digest in digests:
            key = hash_key(project_id, digest)
            issue_id = known.get(key) or learnt.get(key)
            if issue_id is None:
                missing = True
            elif not found:
                found = issue_id
        flags = 0
        if not found and row.secondary_hashes:
            digests = [*digests, *row.secondary_hashes]
            found = self._first(project_id, row.secondary_hashes)
        if not found:
            found, flags = self._create(row), NEW
        if missing:
            self._attach(row, digests, found)
        if found in self._index.resolved and found not in self._reopened:
            self._reopened.add(found)
            flags |= REGRESSED
        self._look(found, row, bool(flags & NEW))
        return Assigned(found, flags)

    def _first(self, project_id: int, digests: Sequence[str]) -> int:
        known, learnt = self._index.known, self._known
        for digest in digests:
            key = hash_key(project_id, digest)
            if found := known.get(key) or learnt.get(key):
                return found
        return 0

    def _attach(self, row: EventRow, digests: Sequence[str], issue_id: int) -> None:
        """Those of these hashes that nobody has are the issue's from now on."""
        known, learnt = self._index.known, self._known
        for digest in digests:
            key = hash_key(row.project_id, digest)
            if key not in known and key not in learnt:
                learnt[key] = issue_id
                self.hashes.append((row.project_id, digest, issue_id))
                is_primary = digest in row.hashes
                self.configs.add((row.project_id, row.grouping_config if is_primary else row.secondary_config))

    def _create(self, row: EventRow) -> int:
        issue_id = self._next_id
        self._next_id += 1
        short_no = (self._short_nos.get(row.project_id) or self._index.short_nos.get(row.project_id, 0)) + 1
        self._short_nos[row.project_id] = short_no
        self.new_issues.append(
            NewIssue(issue_id, row.project_id, short_no, row.hashes[0], row.title, row.culprit, row.level,
                     row.timestamp)
        )  # fmt: skip
        return issue_id

    def _look(self, issue_id: int, row: EventRow, is_new: bool) -> None:
        """Notes title, culprit and level when they differ from what the issue shows."""
        look = hash((row.title, row.culprit, row.level))
        shown = self._looks.get(issue_id) or self._index.looks.get(issue_id)
        if look != shown:
            self._looks[issue_id] = look
            if not is_new:
                self.retitled[issue_id] = Retitled(issue_id, row.title, row.culprit, row.level)

    def accept(self) -> None:
        """The commit is durable: the index learns what this batch found."""
        index = self._index
        index.known.update(self._known)
        index.configs |= self.configs
        index.next_id = self._next_id
        index.short_nos.update(self._short_nos)
        index.resolved -= self._reopened
        for issue_id, look in self._looks.items():
            index.looks[issue_id] = look
            index.looks.move_to_end(issue_id)
        while len(index.looks) > MAX_LOOKS:
            index.looks.popitem(last=False)


MAX_LOOKS = 20_000  # titles remembered to tell a changed one; forgetting costs one row in a delta


class IssueIndex:
    """known: hash key -> issue id. configs: project and grouping config of those hashes, "" for unknown ones. resolved:
    ids that an event re-opens. short_nos: last counter of each project."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.configs: set[tuple[int, str]] = set()
        self.looks: OrderedDict[int, int] = OrderedDict()
        self.resolved: set[int] = set()
        self.short_nos: dict[int, int] = {}
        self.next_id = 1

    def issue_of(self, project_id: int, hashes: Sequence[str]) -> int:
        """The issue that an event with these hashes joins without re-opening it, else 0."""
        for digest in hashes:
            found = self.known.get(hash_key(project_id, digest))
            if found:
                return 0 if found in self.resolved else found
        return 0

    def moving(self, project_id: int, digests: Sequence[str], issue_id: int) -> Delta:
        """A person's decision that these hashes are of that issue."""
        are_known = all(hash_key(project_id, digest) in self.known for digest in digests)
        configs = sorted(one for one in self.configs if one[0] == project_id) if are_known else [(project_id, "")]
        return Delta(moves=[(project_id, digest, issue_id) for digest in digests], configs=configs)

    def learn(self, delta: Delta) -> None:
        """What a commit found that state.sqlite does not hold yet."""
        for issue in delta.new_issues:
            self.next_id = max(self.next_id, issue.id + 1)
            self.short_nos[issue.project_id] = max(self.short_nos.get(issue.project_id, 0), issue.short_no)
        for project_id, digest, issue_id in (*delta.hashes, *delta.moves):
            self.known[hash_key(project_id, digest)] = issue_id
        self.configs |= configs_of(delta)
        self.resolved -= regressed(delta)
        for one in delta.statuses:
            if one.status == RESOLVED:
                self.resolved.add(one.issue_id)
            else:
                self.resolved.discard(one.issue_id)

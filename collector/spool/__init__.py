"""spool: the durable log between the front, which appends, and the worker, which reads and forgets.

Promise: a record whose future is done survives every crash of process and machine (durability "fsync") and is handed
to the reader in order, once per reader; what cannot be read any more is reported with its bytes and its lost quantity
instead. Nothing waits for ever, nothing is read twice, no disk error needs a human: while the disk takes nothing, add()
fails and reading goes on; the first success ends it.

Folder (names in folder.py, bytes in frame.py and checkpoint.py):

    000000000007.spool    [file header][record][record]...[record][seal] zeros
    000000000008.spool    the active one: the next commit overwrites the seal
    checkpoint            up to where files may go

Numbers. A Position is (epoch, seq, total). Seq grows by 1 within a file; a new file goes on, or begins 1,000,000 later
after a restart (journal.RESTART_GAP). Total is the ledger quantity of all records so far, so a gap of total between two
records is what was lost between them. A folder without readable files begins a new epoch at seq 1, total 0.

Order of writing (journal.py): header durable, then name durable, then records; records synced, then sealed, then
acknowledged; a file synced before the next one begins; checkpoint durable before a file goes. A failed write or sync
ends the file: the waiters get Unavailable, what was durable is sealed again, the next records go to a new file whose
header says which record was the last acknowledged one. Frames behind it in the old file count as never written.

Order of reading (reader.py): only what a seal, a later commit or a later file proves durable. Hence the worker's store
never knows a record that the spool could lose, and received = stored + dropped + in spool holds after any crash.

Recovery (journal.open, begin): the newest file is read to its last intact record or seal, a new file begins behind it;
torn tails stay unread. Files up to the checkpoint go. A checkpoint that is missing, damaged or ahead of the files
releases nothing: the store's own committed position says where reading goes on.

Releasing. Two positions: the store resumes at its committed one; release() is called with the one that a verified
database checkpoint holds, because a damaged database log silently loses rows and the spool must then replay them.
"""

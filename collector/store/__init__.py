"""store: rows that stay, counts that are exact, disk that comes back.

Promises
- A commit is rows, position and delta in one DuckDB transaction: after any crash the position says exactly which spool
  records are in the files, no event is stored twice and no issue is counted twice.
- state.sqlite (issues, outcomes, ledger) is the sum of the deltas; missing or damaged, it is computed again.
- A damaged file is set aside, counted and shown; the others go on. What was lost and is still in the spool comes again.
- The spool may forget a record only after its segment was checkpointed and read back (`released`).
- Retention removes whole files: the disk is free at once.

The only room with DDL and DML. Formats: collector.store.schema, collector.store.delta.
"""

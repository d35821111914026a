"""forward: what upstream hears, exactly once each, however long it was away.

Promise
- The first event of a new or regressed issue leaves at once and in full. Every other occurrence is counted, and when a
  window of an issue closes, one summary event stands for all of it. The `count`s of all forwarded events add up to what
  was ingested, over kill -9, outages and restarts: the state is written in the transaction that applies the commit.
- An event keeps its id over all attempts, so a receiver that tells repeated ids apart counts it once.
- Whatever upstream does, only this room's thread waits for it; the outbox stays within its bytes and age, and what is
  given up for that is counted and reported.

- Check-ins and feedback pass as they came; in `events` mode everything does (items.py).

`Forward` (room.py) is the door: `on_applied` in the store's transaction, `committed` after it, `run` as a loop of the
supervisor, `status` from any thread.
"""

"""hub: what collectors at the edge tell a collector in the middle. This page is the protocol, version 1.

Request
    POST /api/hub/batches/ HTTP/1.1
    Authorization: Bearer <token>                  one token an edge, `[[hub.edge]] name, token` at the hub
    Content-Type: application/x-collector-batch; version=1
    Content-Encoding: zstd                         one frame; no other encoding is taken

The body is one msgpack array, at most max_hub_batch_bytes before and after decompression:
    0 version    int         1
    1 edge       str         name of the edge, as the hub knows it
    2 batch_id   bin 16      random, made once: a repetition has the same id and the same bytes
    3 made_at    float       the edge's clock, seconds since the epoch
    4 project_id int         1 to 2^63-1: all entries are of this project, which has the same id at edge and hub unless
                             `[[hub.edge]] projects` of the hub says otherwise
    5 entries    array       1 to MAX_ENTRIES, each an array:
        0 kind       str     "event", "summary", or the type of any other envelope item, at most 64 characters
        1 event_id   str     32 hex digits; of an item the event it belongs to, or ""
        2 count      int     1 to MAX_COUNT: occurrences it stands for, itself included; only a summary has more than 1
        3 first_at   float   timestamps of the first and the last of them, seconds since the epoch
        4 last_at    float
        5 users      bin     distinct users among them, 0 to 512 hashes of 8 bytes, big-endian, ascending, none twice;
                             the smallest ones where there are more (collector.forward.users)
        6 headers    bin     item headers as JSON, at most 64 KiB, b"" for none
        7 payload    bin     the item's payload; of an event its JSON, scrubbed, under the limits of its kind
A summary is the most informative event of a window under the id of the summary, not wrapped: what it stands for is in
`count` alone, so no number is told twice. Fields may be added at the end of either array without a new version; a hub
passes over those that it does not know.

Answer
    200 {"batch", "entries", "occurrences", "repeated"}     the batch is in the hub's spool, synced to its disk
    anything else: {"detail", "causes"}, and nothing of the batch was taken
    400 not a batch; the causes name entry and field        refused, the same bytes never help
    401 no token, or an unknown one                         later, once somebody mended it
    403 the batch names another edge than the token         later
    404 the hub has no such project, or is no hub           later; other projects of the edge are not held up
    413 larger than a limit, which the causes name          the edge halves the batch
    415 another content type or encoding                    later
    426 another version; the causes name those that are     later, or in a version that both know
    429, 503 with Retry-After: memory, disk or spool full   later

Promises
- 200 only after fsync. A batch is stored once for each (edge, batch_id), however often it comes and whoever was killed
  in between: the worker decides it in the transaction that stores the batch. Ids are remembered for
  store.batches.KEPT batches an edge; what is told again after that is still recognised by its event ids.
- Two machines under one name and token (a copied disk) lose nothing: their batches have different ids, but for one that
  was copied too, which is stored once.
- Another edge's batch id means nothing: ids are looked up under the name that the token stands for.
- Counts are exact: a summary of N adds N to its issue and N to the hub's ledger (1 stored, N - 1 summarised), and what
  the hub forwards adds up to what all edges ingested. Where an entry is dropped (filtered, duplicate), N are.
- The hub treats what comes as what came from an SDK: normalises, filters, scrubs, groups by its own rules. Its quotas
  are not asked; the edge has asked its own. Each event gets the tag `collector.edge`.

Nothing here does I/O: `batch` is the format, `edges` knows who may send and counts what was refused.
"""

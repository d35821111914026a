"""digest: from the bytes of a spool record to rows.

Promises
- `Digester.digest` never raises. A record that cannot be digested comes back as damaged, counted once.
- Nothing is lost silently: rows, items and outcomes of a record add up to its quantity.
- Events are stored as Sentry would store them: what it repairs is repaired, what it drops is dropped with the same
  remark in `_meta` and `errors`. Whatever the types and the depth, the result is well-formed JSON of known shape.
- Every column says what the scrubbed bytes say.
- Digesting the same record twice gives the same result; only its head and body are looked at, no clock.

Order of an event: normalise (read, repair, finish) -> enrich -> filter -> scrub -> group -> row. Until it is
scrubbed an event stays in parts (normalised): to write and decode it once more would cost more than most of the stages.
Sources: reference pages on the protocol (D, E, F) and on HTTP (section 4).
"""

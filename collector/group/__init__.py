"""group: which issue is it. Hash for hash what Sentry computes.

Promise: `grouping.group` is pure and total. It reads a `view.View` (decoded from a normalised event), one of the
`grouping.GROUPING_CONFIGS`, and the rules of the project, which were checked when they were parsed; it never raises for
the content of an event, and the same input gives the same hashes for as long as a configuration's name is known.

A reader follows an event top down: view (decode) -> frame, stack (what counts, with engine, rules, syntax) ->
strategies, exceptions (what it is grouped by) -> fingerprint, parameterize -> title -> grouping (hashes).
`explain` tells a person the same in words; `console` is what the commands print.
"""

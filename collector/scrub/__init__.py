"""Scrubbing of personal data and secrets, as Sentry does it, before anything is stored or leaves the machine.

Promise: pure. `Scrubber(settings).event(payload)` gives the event without what default scrubbing and the project's own
rules take out, every change noted in `_meta` in Sentry's format; `.text(data, kind)` does the same for other items, and
`.fast.leaves` for an event whose leaves are apart, wherever the default scrubbing is all there is.
Without settings the default scrubbing is on. Patterns, the user's too, run in a linear-time engine only; what is wrong
in the settings is a ValueError at construction, naming the place and the reason. Source: reference page on the
protocol, section F.
"""

"""Hostile bytes <-> nouns, under named limits.

Promise: whatever the bytes are, the outcome is a noun of model/ or a ProtocolError that carries the HTTP answer;
nothing else escapes. Memory and time are bounded by the limits of limits.LimitSettings. Nothing here does I/O or
looks at the time. What a client sends is never changed here: payloads are slices of the body.
"""

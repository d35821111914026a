"""The nouns: pure data that every room may hold, and the typed strings of the configuration.

Promise: nothing here does I/O, looks at the time, or imports another room.
"""

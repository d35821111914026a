"""The only code that touches time, randomness, files and outbound sockets.

Promise: everything here is passed in as an argument, so a test can pass a FakeClock, a FakeDisk that crashes, or a
network that lies. DuckDB and SQLite files are the one exception: their libraries open them, in the store.
"""

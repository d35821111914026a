"""collector: a self-hosted edge collector for the Sentry protocol.

accept, admit, spool, digest, group, store, query, triage, watch, forward, web: the folder list is the flow of an
envelope, and each room's docstring says what it promises.
"""

__version__ = "0.1.0"

"""Every error that crosses a room's border, drawn as a tree.

    CollectorError
    |-- ConfigError      the configuration cannot be used; lists every mistake            exit 78
    |-- ProtocolError    the bytes of a client break the protocol; carries the answer     4xx
    |-- Busy             later: come back in retry_after seconds                          429 / 503
    |-- Poison           never: this one record cannot be digested; it is set aside       quarantine
    |-- Unavailable      a thing we need (disk, worker, upstream) does not answer now     503, loops back off
    |   `-- Invalidated  ... and never will again before whoever owns it opens it afresh  the loop begins again
    `-- Damaged          a file of ours is not what we wrote; it is set aside             quarantine

Anything else that escapes a room is a bug and reaches the supervisor.
"""

from collections.abc import Sequence


class CollectorError(Exception):
    """Root of all errors that a room raises on purpose."""


class ConfigError(CollectorError):
    """The configuration is unusable.

    `mistakes` holds one sentence per mistake, each starting with its `table.key`.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = list(mistakes)


class ProtocolError(CollectorError):
    """A client's bytes break the protocol.

    `status` is the HTTP answer, `detail` the sentence for its body, `causes` further sentences, `reason` the discard
    reason of the outcome ledger (protocol words: "invalid_json", "too_large:event", ...).
    """

    def __init__(self, status: int, detail: str, reason: str, causes: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason
        self.causes = list(causes)


class Busy(CollectorError):
    """Not now: try again in `retry_after` seconds. `what` names the limit and its value."""

    def __init__(self, retry_after: float, what: str, status: int = 429) -> None:
        super().__init__(what)
        self.retry_after = retry_after
        self.what = what
        self.status = status


class Poison(CollectorError):
    """A spool record that can never be digested; `why` is a sentence without any of its content."""

    def __init__(self, position: object, why: str) -> None:
        super().__init__(f"{position}: {why}")
        self.position = position
        self.why = why


class Unavailable(CollectorError):
    """Something outside this room (`what`) does not work at the moment; the caller may try again later."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Invalidated(Unavailable):
    """A database engine has shut itself down after a failure; its files are as they were and must be opened again."""


class Damaged(CollectorError):
    """A file of ours at `path` is not what we wrote."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what

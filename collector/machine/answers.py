"""What goes out and what comes back: the nouns of collector.machine.net."""

import msgspec

from collector.errors import Unavailable


class Request(msgspec.Struct, frozen=True):
    """One outbound request. Header names as they should be written."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""


class Answer(msgspec.Struct, frozen=True):
    """What came back. Header names in lower case; `cut` tells that the body went on after max_answer_bytes."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False


class NetError(Unavailable):
    """No usable answer. `sent` is False only when the other side cannot have seen the whole request.

    kind: dns, refused, connect, tls, proxy, timeout, reset or protocol. `what` is a sentence for the status page.
    """

    def __init__(self, kind: str, sent: bool, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.sent = sent

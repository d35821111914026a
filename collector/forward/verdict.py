"""What an answer, or the lack of one, means for the entry and for the upstream: a table from status to Verdict."""

from typing import Literal

import msgspec

from collector.forward.limits import parse_limits, retry_after
from collector.machine.net import Answer, NetError

What = Literal["taken", "refused", "too_large", "encoding", "limited", "later", "damaged"]
MAX_QUOTE = 120


class Verdict(msgspec.Struct, frozen=True):
    """what: taken (done), refused (never again), too_large, encoding (try another), limited, later (back off),
    damaged (it was never sent).

    why: a sentence for the status page. known: the receiver may have taken the entry although this is no success.
    pause: seconds the receiver asked for. listed: it named its limits by category. blame: "entry" when another may
    fare better, "upstream" otherwise. status: of a refusal.
    """

    what: What
    why: str = ""
    known: bool = False
    pause: float = 0.0
    blame: str = "upstream"
    listed: bool = False
    status: int = 0


TAKEN = Verdict("taken")

BY_STATUS: dict[int, Verdict] = {
    400: Verdict("refused", "upstream answers 400, it does not understand this", status=400),
    401: Verdict("later", "upstream answers 401, it does not know the key of the DSN"),
    403: Verdict("later", "upstream answers 403, the key is revoked or the project is disabled"),
    404: Verdict("later", "upstream answers 404, there is no such project or the path of the DSN is wrong"),
    405: Verdict("later", "upstream answers 405, the address of the DSN is not a Sentry"),
    407: Verdict("later", "the proxy answers 407, it wants a password"),
    408: Verdict("later", "upstream answers 408, the request took too long", known=True),
    413: Verdict("too_large", "upstream answers 413, this is too large for it"),
    415: Verdict("encoding", "upstream answers 415, it does not take this compression"),
    425: Verdict("later", "upstream answers 425, too early"),
}


def judge(answer: Answer) -> Verdict:
    """The meaning of an answer. A 429 is read by `Limits` as well."""
    status = answer.status
    pause = retry_after(answer.headers) or 0.0
    if 200 <= status < 300:
        return TAKEN if _is_ours(answer) else _garbage(answer)
    if status == 429:
        # With the list of limits, Retry-After speaks of the longest of them, whatever it is for.
        listed = bool(parse_limits(answer.headers.get("x-sentry-rate-limits", "")))
        why = "upstream answers 429, its quota is used up"
        return Verdict("limited", why, pause=0.0 if listed else pause, listed=listed)
    if status in BY_STATUS:
        return BY_STATUS[status]
    if 300 <= status < 400:
        where = answer.headers.get("location", "")[:MAX_QUOTE]
        return Verdict("later", f"upstream answers {status} and redirects to {where!r}; redirects are not followed")
    if 400 <= status < 500:
        return Verdict("refused", f"upstream answers {status}: {_quote(answer)}")
    # A server that fails may have taken the event before; 500 can also be the fault of this very entry.
    blame = "entry" if status == 500 else "upstream"
    return Verdict("later", f"upstream answers {status}", known=True, pause=pause, blame=blame)


def judge_failure(error: NetError) -> Verdict:
    """The meaning of no answer."""
    return Verdict("later", error.what, known=error.sent, blame="entry" if error.sent else "upstream")


def _is_ours(answer: Answer) -> bool:
    """An empty body, or a JSON object as all receivers of this protocol answer; a login page is neither."""
    if answer.cut:
        return False
    body = answer.body.strip()
    if not body:  # without a stated length it may as well be an answer cut off among its header lines
        return answer.status == 204 or bool(answer.headers.keys() & {"content-length", "transfer-encoding"})
    try:
        msgspec.json.decode(body, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _garbage(answer: Answer) -> Verdict:
    why = f"upstream answers {answer.status} with something that is no Sentry answer: {_quote(answer)}"
    return Verdict("later", why, known=True)


def _quote(answer: Answer) -> str:
    text = answer.body[:MAX_QUOTE].decode("utf-8", "replace")
    return repr(" ".join(text.split()))

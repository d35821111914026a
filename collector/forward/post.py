"""Requests: compressed as the receiver likes it, answers judged, limits learnt."""

from collections.abc import Sequence
from typing import Literal

from collector.forward import wire
from collector.forward.limits import Limits
from collector.forward.target import Target, auth_headers
from collector.forward.verdict import Verdict, judge, judge_failure
from collector.machine.clock import Clock
from collector.machine.net import Answer, Net, NetError, Request


class Post:
    """Sends envelopes. `auto` begins with zstd and goes over to gzip when the receiver does not take it."""

    def __init__(
        self, target: Target, clock: Clock, net: Net, encoding: Literal["auto", "gzip", "zstd", "identity"]
    ) -> None:
        self._target = target
        self._clock = clock
        self._net = net
        self.encoding: str = "zstd" if encoding == "auto" else encoding
        self._is_proven = encoding != "auto"  # a receiver that does not know an encoding may also answer 400
        self.limits = Limits()

    def send(self, body: bytes) -> Verdict:
        """One envelope."""
        return self.send_many([body])[0]

    def send_many(self, bodies: Sequence[bytes]) -> list[Verdict]:
        """Several at the same time. An unwelcome compression is changed for good, and the envelope sent again."""
        encoding = self.encoding
        verdicts = self._send(bodies, encoding)
        for place, verdict in enumerate(verdicts):
            unwelcome = verdict.what == "encoding" or (verdict.status == 400 and not self._is_proven)
            if unwelcome and wire.FALLBACK[encoding] != encoding:
                verdicts[place] = self._again(bodies[place], encoding, verdict)
        self._is_proven = self._is_proven or any(one.what == "taken" for one in verdicts)
        return verdicts

    def _again(self, body: bytes, encoding: str, verdict: Verdict) -> Verdict:
        simpler = wire.FALLBACK[encoding]
        (second,) = self._send([body], simpler)
        if verdict.what == "encoding" or second.what == "taken":
            self.encoding = simpler
        if second.what == "encoding" and simpler != "identity":
            return self._again(body, simpler, second)
        return second

    def _send(self, bodies: Sequence[bytes], encoding: str) -> list[Verdict]:
        headers = auth_headers(self._target, encoding)
        encode = wire.ENCODERS[encoding]
        requests = [Request("POST", self._target.url, headers, encode(body)) for body in bodies]
        return [self._judged(answer) for answer in self._net.send_many(requests)]

    def _judged(self, answer: Answer | NetError) -> Verdict:
        if isinstance(answer, NetError):
            return judge_failure(answer)
        self.limits.learn(answer.status, answer.headers, self._clock.monotonic())
        return judge(answer)

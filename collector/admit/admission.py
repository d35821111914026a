"""Admission: quotas, learned limits, shedding and spikes in one question, and their state in one blob.

State, as msgpack: [1, quotas, learned limits, spikes]. It is a convenience across restarts: anything unusable is
answered by starting afresh.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence

import msgspec

from collector.admit.addresses import AddressGuard
from collector.admit.learned import LearnedLimits
from collector.admit.quotas import Quotas
from collector.admit.settings import AdmitSettings, QuotaSettings
from collector.admit.shedding import shed
from collector.admit.spikes import Notice, Spikes
from collector.admit.verdict import OPEN, Claim, Limit, Verdict, judge
from collector.errors import Busy
from collector.machine.clock import Clock

VERSION = 1


class Admission:
    """One a process, on the event loop. pressure: how full spool and disk are, from 0 to 1."""

    def __init__(
        self,
        settings: AdmitSettings,
        common: Sequence[QuotaSettings],
        projects: Mapping[int, Sequence[QuotaSettings]],
        clock: Clock,
        pressure: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._settings = settings
        self._pressure = pressure
        self._clock = clock
        self._quotas = Quotas(common, projects, clock)
        self._learned = LearnedLimits(clock)
        self._spikes = Spikes(settings.spikes.enabled, settings.spikes.min_items_per_hour, clock)
        rate = settings.address_rate
        burst = settings.address_burst or (int(rate.partition("/")[0]) if rate != "off" else 1)
        self._addresses = AddressGuard(rate.per_second, burst, clock)

    def concerns(self, project_id: int) -> bool:
        """Whether anything could say no at the moment; asking costs next to nothing."""
        return (
            self._quotas.concerns(project_id)
            or self._settings.spikes.enabled
            or self._pressure() >= self._settings.shed_pressure
            or bool(self._learned.active(project_id))
        )

    @property
    def guards_addresses(self) -> bool:
        """Whether check_address could say no."""
        return self._settings.address_rate != "off"

    def check_address(self, address: str) -> None:
        """Raises Busy 429 when this client address asks too often."""
        wait = self._addresses.wait_seconds(address)
        if wait:
            raise Busy(wait, f"address_rate is {self._settings.address_rate}", 429)

    def check(self, project_id: int, public_key: str, claims: Sequence[Claim]) -> Verdict:
        """The verdict over one envelope; what comes in is counted."""
        now = self._clock.now()
        asked = self._quotas.ask(project_id, public_key, claims)
        crossed = self._quotas.crossed(asked, now)
        general = self._learned.active(project_id)
        pressure = self._pressure()
        if pressure >= self._settings.shed_pressure:
            general = [*general, *shed(pressure, self._settings.shed_pressure)]
        limits = [self._quotas.announced(one, now) for one in crossed]
        limits += [*general, *self._spikes.crossed(project_id, claims)]
        verdict = judge(limits, claims)
        self._quotas.count(asked, crossed, claims, verdict, now)
        self._spikes.count(project_id, claims, verdict.refused)
        if not general:
            return verdict
        ahead = tuple(limit for limit in general if limit not in verdict.limits)
        return Verdict(verdict.refused, verdict.limits, ahead) if ahead else verdict

    def learn(self, project_id: int, limits: Iterable[Limit]) -> None:
        """Take over what the upstream refuses at the moment."""
        self._learned.learn(project_id, limits)

    def take_notices(self) -> list[Notice]:
        """Spikes that started or ended since the last call."""
        notices, self._spikes.notices = self._spikes.notices, []
        return notices

    def take_over(self, before: "Admission", same_upstream: Container[int]) -> None:
        """Go on where the configuration until now stands: counters of quotas that count as before, baselines, buckets
        of addresses, and what was learned from the upstream of the projects `same_upstream`."""
        self._quotas.take_over(before._quotas)
        self._learned.take_over(before._learned, same_upstream)
        self._spikes.take_over(before._spikes)
        self._addresses.take_over(before._addresses)

    def dump(self) -> bytes:
        """The state."""
        return msgspec.msgpack.encode([VERSION, self._quotas.state(), self._learned.state(), self._spikes.state()])

    def load(self, state: bytes) -> bool:
        """Take a state over; False, and nothing changed for the part that failed, when it is unusable."""
        try:
            version, quotas, learned, spikes = msgspec.msgpack.decode(state)
            if version != VERSION:
                return False
            self._quotas.restore(quotas)
            self._learned.restore(learned)
            self._spikes.restore(spikes)
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, OverflowError):
            return False
        return True


__all__ = ["OPEN", "Admission", "Claim", "Limit", "Verdict"]

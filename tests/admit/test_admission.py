"""Admission as a whole: buckets, learned limits, shedding, spikes, addresses, and what survives a restart."""

import pytest
from msgspec.structs import replace

from collector.accept.claims import claims_of
from collector.admit.addresses import MAX_ADDRESSES, AddressGuard
from collector.admit.admission import Admission
from collector.admit.learned import MAX_LIMITS, as_limits
from collector.admit.settings import AdmitSettings, QuotaSettings, SpikeSettings
from collector.admit.shedding import STEPS, shed
from collector.admit.spikes import threshold
from collector.admit.verdict import OPEN, Limit, Verdict
from collector.errors import Busy
from collector.model.envelope import Item
from collector.model.settings import Duration, Rate
from tests.helpers.clock import FakeClock

KEY = "c" * 32
HOUR = 3600.0


def item(kind: str, payload: bytes = b"{}", **headers: object) -> Item:
    return Item(kind, {"type": kind, **headers}, payload)


EVENT, TRANSACTION, SESSION, REPLAY = item("event"), item("transaction"), item("session"), item("replay_recording")
ATTACHMENT, CHECK_IN, FEEDBACK, LOG = item("attachment", b"12345"), item("check_in"), item("feedback"), item("log")
SPIKY = AdmitSettings(spikes=SpikeSettings(enabled=True, min_items_per_hour=10))


def bucket(*categories: str, rate: str = "2/s", burst: int = 0) -> QuotaSettings:
    return QuotaSettings(id="b", categories=list(categories), rate=Rate(rate), burst=burst, reason_code="slow")


class Desk:
    """Admission with a clock and a pressure that a test turns."""

    def __init__(self, *quotas: QuotaSettings, settings: AdmitSettings | None = None) -> None:
        self.clock = FakeClock()
        self.clock.jump(-(self.clock.now() % HOUR))
        self.pressure = 0.0
        self.settings = settings or AdmitSettings()
        self.quotas = quotas
        self.admission = self.fresh()

    def fresh(self) -> Admission:
        return Admission(self.settings, [], {1: self.quotas}, self.clock, lambda: self.pressure)

    def replaced(self, *quotas: QuotaSettings, same_upstream: tuple[int, ...] = (1,)) -> "Desk":
        """Another configuration takes over."""
        before, self.quotas = self.admission, quotas
        self.admission = self.fresh()
        self.admission.take_over(before, same_upstream)
        return self

    def ask(self, *items: Item) -> Verdict:
        return self.admission.check(1, KEY, claims_of(items))

    def admitted(self, count: int, one: Item = EVENT) -> int:
        return sum(not self.ask(one).refused for _ in range(count))


def test_a_bucket_lets_in_its_burst_and_then_its_rate() -> None:
    desk = Desk(bucket("error", rate="2/s", burst=5))
    assert desk.admitted(9) == 5
    (limit,) = desk.ask(EVENT).limits
    assert limit == Limit(1, ("error",), "organization", "slow")
    desk.clock.advance(1)
    assert desk.admitted(9) == 2
    desk.clock.advance(3600)
    assert desk.admitted(9) == 5


def test_a_bucket_of_bytes_lends_for_one_large_attachment_and_then_waits() -> None:
    desk = Desk(bucket("attachment", rate="10/s", burst=10))
    assert not desk.ask(item("attachment", bytes(500))).refused
    refused = desk.ask(ATTACHMENT)
    assert (dict(refused.refused), refused.limits[0].seconds) == ({0: "slow"}, 50)
    desk.clock.advance(refused.limits[0].seconds)
    assert not desk.ask(ATTACHMENT).refused


def test_a_window_and_a_bucket_hold_together() -> None:
    quota = QuotaSettings(id="q", categories=["error"], limit=3, window=Duration("60 s"), rate=Rate("2/s"))
    desk = Desk(quota)
    assert desk.admitted(5) == 2
    desk.clock.advance(1)
    assert desk.admitted(5) == 1


@pytest.mark.parametrize("fields", [{"rate": Rate("1/s")}, {"limit": 5, "window": Duration("60 s")}])
def test_a_counting_quota_needs_a_name_and_one_unit(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="id is needed"):
        QuotaSettings(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mix bytes and counts"):
        QuotaSettings(id="q", categories=["error", "attachment"], **fields)  # type: ignore[arg-type]


def test_learned_limits_refuse_until_they_end_and_the_longer_one_stays() -> None:
    desk = Desk()
    assert not desk.admission.concerns(1)
    told = [{"seconds": 60, "categories": ["error"], "scope": "organization", "reason": "quota"}]
    desk.admission.learn(1, as_limits(told))
    desk.admission.learn(1, [Limit(5, ("error",), "organization", "short")])
    assert desk.admission.concerns(1)
    assert desk.ask(EVENT, SESSION).refused == {0: "quota"}
    assert desk.ask(SESSION) == Verdict({}, (), (Limit(60, ("error",), "organization", "quota"),))
    desk.clock.advance(60)
    assert desk.ask(EVENT) is OPEN
    assert not desk.admission.concerns(1)


def test_learned_limits_are_bounded() -> None:
    desk = Desk()
    desk.admission.learn(1, [Limit(10 + n, (f"c{n}",), "key", "") for n in range(MAX_LIMITS + 50)])
    ahead = desk.ask(SESSION).ahead
    assert len(ahead) == MAX_LIMITS
    assert min(limit.seconds for limit in ahead) == 60


@pytest.mark.parametrize(
    ("pressure", "kept"),
    [
        (0.79, {"replay_recording", "attachment", "transaction", "log", "event"}),
        (0.80, {"attachment", "transaction", "log", "event"}),
        (0.85, {"transaction", "log", "event"}),
        (0.89, {"log", "event"}),
        (0.93, {"event"}),
        (0.97, set()),
        (1.0, set()),
    ],
)
def test_pressure_refuses_the_least_important_first_and_some_never(pressure: float, kept: set[str]) -> None:
    desk = Desk()
    desk.pressure = pressure
    always = [SESSION, CHECK_IN, item("client_report"), FEEDBACK]
    assert [desk.ask(one).refused for one in always] == [{}] * 4
    one_each = [REPLAY, ATTACHMENT, TRANSACTION, LOG, EVENT]
    assert {one.type for one in one_each if not desk.ask(one).refused} == kept
    assert set(desk.ask(*one_each).refused.values()) <= {"pressure"}


def test_shedding_is_announced_ahead_and_can_be_switched_off() -> None:
    desk = Desk()
    desk.pressure = 0.8
    assert [limit.categories for limit in desk.ask(EVENT).ahead] == [STEPS[0]]
    assert shed(1.0, 1.0) == []
    with pytest.raises(ValueError, match="shed_pressure"):
        AdmitSettings(shed_pressure=0.0)


def a_usual_week(desk: Desk, per_hour: int, hours: int = 100) -> None:
    for _ in range(hours):
        assert desk.admitted(per_hour) == per_hour
        desk.clock.advance(HOUR)


def test_a_spike_is_cut_off_at_its_threshold_and_both_ends_are_noticed() -> None:
    desk = Desk(settings=SPIKY)
    a_usual_week(desk, 20)
    assert desk.admitted(100) == 60
    (limit,) = desk.ask(EVENT).limits
    assert (limit.categories, limit.scope, limit.reason) == (("error",), "project", "spike_protection")
    assert desk.admitted(5, SESSION) == 5
    desk.clock.advance(HOUR)
    assert desk.admitted(20) == 20
    desk.clock.advance(HOUR)
    assert desk.admitted(20) == 20
    assert [(n.family, n.started) for n in desk.admission.take_notices()] == [("error", True), ("error", False)]
    assert desk.admission.take_notices() == []


def test_nothing_is_cut_off_on_the_first_day_or_below_the_minimum() -> None:
    desk = Desk(settings=SPIKY)
    assert desk.admitted(500) == 500
    calm = Desk(settings=AdmitSettings(spikes=SpikeSettings(enabled=True, min_items_per_hour=300)))
    a_usual_week(calm, 1)
    assert calm.admitted(400) == 300


def test_a_threshold_follows_the_week() -> None:
    assert threshold([20.0] * 23, 10) is None
    assert threshold([0.0] * 50, 10) == 10
    assert threshold([20.0] * 168, 10) == 60
    assert threshold([0.0, 100.0] * 84, 10) == pytest.approx(252, rel=0.05)
    rising = threshold([10.0] * 84 + [40.0] * 84, 10)
    assert rising is not None and rising > threshold([40.0] * 84 + [10.0] * 84, 10)  # type: ignore[operator]


def test_state_survives_a_restart() -> None:
    quota = QuotaSettings(id="q", categories=["error"], limit=3, window=Duration("1 h"), reason_code="full")
    desk = Desk(quota, bucket("transaction", rate="1/h", burst=2), settings=SPIKY)
    desk.admission.learn(1, [Limit(600, ("session",), "key", "told")])
    assert desk.admitted(2) == 2
    assert desk.admitted(2, TRANSACTION) == 2
    state = desk.admission.dump()
    desk.admission = desk.fresh()
    assert desk.admission.load(state)
    assert desk.admission.dump() == state
    assert desk.admitted(3) == 1
    assert desk.admitted(3, TRANSACTION) == 0
    assert desk.ask(SESSION).refused == {0: "told"}


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x90", b"garbage", b"\x94\x01\x80\x90\x90", b"\x94\x02\x80\x90\x90",
                                   b"\x94\x01\xc0\xc0\xc0",
                                   b"\x94\x01\x82\xa4used\x91\x91\x01\xa6tokens\x90\x90\x90"])  # fmt: skip
def test_a_state_that_is_unusable_is_a_fresh_start(state: bytes) -> None:
    desk = Desk(bucket("error", burst=2))
    assert not desk.admission.load(state)
    assert desk.admitted(5) == 2


def test_an_address_that_asks_too_often_waits_and_others_do_not() -> None:
    desk = Desk(settings=AdmitSettings(address_rate=Rate("2/s"), address_burst=3))
    for _ in range(3):
        desk.admission.check_address("198.51.100.7")
    with pytest.raises(Busy) as caught:
        desk.admission.check_address("198.51.100.7")
    assert (caught.value.status, caught.value.retry_after) == (429, 0.5)
    desk.admission.check_address("198.51.100.8")
    desk.clock.advance(0.5)
    desk.admission.check_address("198.51.100.7")


def test_an_ipv6_client_is_its_64_bit_network() -> None:
    guard = AddressGuard(1.0, 1, FakeClock())
    assert guard.wait_seconds("2001:db8::1") == 0.0
    assert guard.wait_seconds("2001:db8::ffff") > 0
    assert guard.wait_seconds("2001:db8:0:1::1") == 0.0
    assert guard.wait_seconds("no:address") == 0.0


def test_addresses_in_memory_are_bounded_and_the_quiet_ones_go_first() -> None:
    guard = AddressGuard(1.0, 1, FakeClock())
    for number in range(MAX_ADDRESSES):
        assert guard.wait_seconds(f"a{number}") == 0.0
    assert guard.wait_seconds("a0") > 0
    assert guard.wait_seconds("new") == 0.0
    assert guard.wait_seconds("a0") > 0
    assert guard.wait_seconds("a1") == 0.0


def test_no_guard_costs_nothing_and_says_nothing() -> None:
    desk = Desk()
    assert not desk.admission.guards_addresses
    assert not desk.admission.concerns(1)
    desk.admission.check_address("198.51.100.7")


DAILY = QuotaSettings(id="day", categories=["error"], limit=5, window=Duration("1 d"), reason_code="daily")


def test_another_configuration_goes_on_with_the_counters_of_a_quota_whatever_its_limit_is_now() -> None:
    desk = Desk(DAILY)
    assert desk.admitted(4) == 4
    assert desk.replaced(replace(DAILY, limit=7)).admitted(9) == 3
    assert desk.replaced(replace(DAILY, limit=7), bucket("error")).admitted(9) == 0


def test_a_quota_that_counts_something_else_now_begins_anew() -> None:
    desk = Desk(DAILY)
    assert desk.admitted(9) == 5
    assert desk.replaced(replace(DAILY, categories=["error", "transaction"])).admitted(9) == 5
    assert desk.replaced().admitted(9) == 9
    assert desk.replaced(DAILY).admitted(9) == 5


def test_a_request_that_began_under_the_configuration_before_counts_under_the_next() -> None:
    desk = Desk(DAILY)
    before = desk.admission
    desk.replaced(DAILY)
    assert not before.check(1, KEY, claims_of([EVENT])).refused
    assert desk.admitted(9) == 4


def test_buckets_of_addresses_and_learned_limits_of_the_same_upstream_outlive_another_configuration() -> None:
    desk = Desk(settings=AdmitSettings(address_rate=Rate("1/m")))
    desk.admission.check_address("198.51.100.7")
    desk.admission.learn(1, [Limit(60, ("error",), "organization", "upstream")])
    desk.replaced()
    with pytest.raises(Busy):
        desk.admission.check_address("198.51.100.7")
    assert desk.ask(EVENT).refused
    assert not desk.replaced(same_upstream=()).ask(EVENT).refused


def test_baselines_outlive_another_configuration_and_follow_its_minimum() -> None:
    desk = Desk(settings=SPIKY)
    a_usual_week(desk, 1)
    desk.settings = AdmitSettings(spikes=SpikeSettings(enabled=True, min_items_per_hour=12))
    assert desk.replaced().admitted(40) == 12

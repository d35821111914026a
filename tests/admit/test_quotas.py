"""Quotas: who falls, who goes along, what is announced, what is counted."""

import pytest

from collector.accept.claims import claims_of
from collector.admit.quotas import OPEN, Limit, Quotas, Verdict
from collector.admit.settings import QuotaSettings
from collector.model.envelope import Item
from collector.model.settings import Duration
from tests.helpers.clock import FakeClock

KEY = "c" * 32
OTHER = "d" * 32


def zero(*categories: str, **fields: str) -> QuotaSettings:
    return QuotaSettings(categories=list(categories), limit=0, reason_code="why", **fields)  # type: ignore[arg-type]


def counted(limit: int, *categories: str, scope: str = "project") -> QuotaSettings:
    return QuotaSettings(
        id="q",
        categories=list(categories),
        limit=limit,
        window=Duration("60 s"),
        reason_code="full",
        scope=scope,  # type: ignore[arg-type]
    )


def item(kind: str, payload: bytes = b"{}", **headers: object) -> Item:
    return Item(kind, {"type": kind, **headers}, payload)


def ask(quotas: Quotas, *items: Item, project_id: int = 1, key: str = KEY) -> Verdict:
    return quotas.check(project_id, key, claims_of(items))


def of(*settings: QuotaSettings, clock: FakeClock | None = None) -> Quotas:
    return Quotas([], {1: settings}, clock or FakeClock())


EVENT, TRANSACTION, SESSION = item("event"), item("transaction"), item("session")
ATTACHMENT, REPORT, CHECK_IN = item("attachment", b"12345"), item("user_report"), item("check_in")
DUMP = item("attachment", b"MDMP", attachment_type="event.minidump")


@pytest.mark.parametrize(
    ("quota", "items", "fallen", "announced"),
    [
        (zero("error"), [EVENT, ATTACHMENT, REPORT, SESSION], {0, 1, 2}, True),
        (zero("attachment"), [EVENT, ATTACHMENT], {1}, True),
        (zero("attachment_item"), [EVENT, ATTACHMENT], {1}, True),
        (zero("attachment"), [DUMP], set(), False),
        (zero("attachment"), [DUMP, ATTACHMENT], {1}, True),
        (zero("session"), [SESSION, item("sessions")], {0}, True),
        (zero("session"), [item("sessions")], set(), True),
        (zero("feedback"), [EVENT, REPORT], {1}, True),
        (zero("log_byte"), [item("log")], {0}, True),
        (zero("span"), [TRANSACTION], set(), False),
        (zero("transaction"), [TRANSACTION, item("profile")], {0, 1}, True),
        (zero("monitor"), [CHECK_IN, EVENT], {0}, True),
        (zero(), [EVENT, SESSION], {0, 1}, True),
        (zero(), [item("client_report")], set(), False),
        (zero(), [item("from_the_future")], set(), False),
        (zero("no_such_category"), [EVENT], set(), False),
        (zero("error", scope="key", scope_id=OTHER), [EVENT], set(), False),
        (zero("error", scope="key", scope_id=KEY), [EVENT], {0}, True),
        (zero("error", scope="project", scope_id="2"), [EVENT], set(), False),
    ],
)
def test_a_zero_quota_takes_what_it_covers_and_what_depends_on_it(
    quota: QuotaSettings, items: list[Item], fallen: set[int], announced: bool
) -> None:
    verdict = ask(of(quota), *items)
    assert set(verdict.refused) == fallen
    assert set(verdict.refused.values()) <= {"why"}
    limit = Limit(60, tuple(quota.categories), quota.scope, "why")
    assert verdict.limits == (limit,) * announced


def test_a_window_lets_in_its_limit_and_opens_again() -> None:
    clock = FakeClock()
    quotas = of(counted(2, "error"), clock=clock)
    assert [bool(ask(quotas, EVENT).refused) for _ in range(4)] == [False, False, True, True]
    (limit,) = ask(quotas, EVENT).limits
    assert 1 <= limit.seconds <= 60
    clock.advance(limit.seconds)
    assert ask(quotas, EVENT) is OPEN


def test_bytes_are_counted_for_attachments() -> None:
    quotas = of(counted(12, "attachment"))
    assert [bool(ask(quotas, ATTACHMENT).refused) for _ in range(3)] == [False, False, True]


def test_what_falls_to_another_quota_is_not_counted() -> None:
    quotas = of(zero("error"), counted(1, "attachment_item"))
    ask(quotas, EVENT, ATTACHMENT)
    assert not ask(quotas, ATTACHMENT).refused


def test_projects_and_keys_have_counters_of_their_own_and_the_organisation_has_one() -> None:
    own = Quotas([counted(1, "error", scope="project")], {1: [], 2: []}, FakeClock())
    assert [bool(ask(own, EVENT, project_id=number).refused) for number in (1, 2, 1)] == [False, False, True]
    by_key = of(counted(1, "error", scope="key"))
    assert [bool(ask(by_key, EVENT, key=key).refused) for key in (KEY, OTHER, KEY)] == [False, False, True]
    shared = Quotas([counted(1, "error", scope="organization")], {1: [], 2: []}, FakeClock())
    assert [bool(ask(shared, EVENT, project_id=number).refused) for number in (1, 2)] == [False, True]


def test_a_new_configuration_goes_on_with_what_still_means_the_same() -> None:
    clock = FakeClock()
    everybody = counted(1, "error", scope="organization")
    before = Quotas([everybody], {1: []}, clock)
    assert not ask(before, EVENT).refused
    after = Quotas([everybody], {1: [], 2: []}, clock)  # a project more
    after.take_over(before)
    assert ask(after, EVENT, project_id=2).refused
    emptied = Quotas([], {1: []}, clock)
    emptied.take_over(after)
    again = Quotas([everybody], {1: []}, clock)
    again.take_over(emptied)
    assert not ask(again, EVENT).refused


def test_one_id_in_several_projects_begins_anew_when_it_counts_other_things_in_one() -> None:
    clock = FakeClock()
    errors, sessions = counted(1, "error", scope="organization"), counted(1, "session", scope="organization")
    before = Quotas([], {1: [errors], 2: [errors]}, clock)
    assert not ask(before, EVENT).refused
    after = Quotas([], {1: [errors], 2: [sessions]}, clock)
    after.take_over(before)
    assert not ask(after, SESSION, project_id=2).refused


def test_the_first_quota_that_matches_names_the_reason() -> None:
    verdict = ask(of(counted(1, "error"), zero("error")), EVENT)
    assert verdict.refused == {0: "why"}


def test_a_project_without_quotas_is_open() -> None:
    assert ask(Quotas([], {1: []}, FakeClock()), EVENT) is OPEN
    assert not Quotas([], {1: []}, FakeClock()).concerns(1)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"id": "q", "limit": 5}, "window"),
        ({"limit": 5, "window": Duration("60 s")}, "id"),
        ({"id": "q", "limit": 5, "window": Duration("60 s"), "categories": ["error", "attachment"]}, "mix"),
    ],
)
def test_a_quota_that_cannot_be_counted_is_refused_by_name(fields: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        QuotaSettings(**fields)  # type: ignore[arg-type]

"""Digested records for tests of the store and of what reads it."""

from collector.model.event import Digested, EventRow, ItemRow
from collector.model.outcome import Outcome
from collector.model.received import Position
from collector.store.buckets import StoredProject

NOW = 1_790_000_000.0
SHOP = {42: StoredProject("shop")}
SHOP_AND_BLOG = {**SHOP, 43: StoredProject("blog")}


def event(number: int, issue: int = 1, at: float = NOW, project_id: int = 42, **changes: object) -> EventRow:
    """An event with an id made from `number`, grouped by `issue`."""
    row = EventRow(
        event_id=f"{number:032x}", project_id=project_id, timestamp=at, received_at=at + 0.5,
        hashes=[f"{issue:032x}"], title=f"ValueError: bug {issue}", culprit="shop.cart in pay",
        payload=b'{"event_id":"%032x","exception":{"values":[{"type":"ValueError"}]},"extra":"%s"}'
        % (number, b"x" * 300),
        type="error", level="error", platform="python", release="shop@1.2.3", environment="production",
        transaction="/pay", server_name="web-1", user_id=f"user-{number % 7}", message=f"bug {issue}",
        exception_type="ValueError", exception_value=f"bug {issue}",
        tags=[("tenant_id", f"t{number % 3}"), ("browser", "Firefox")], trace_id=f"{number:032x}",
        sdk="sentry.python/2.75.0",
    )  # fmt: skip
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def record(seq: int, *events: EventRow, epoch: int = 7, items: tuple[ItemRow, ...] = (),
           outcomes: tuple[Outcome, ...] = (), before: int | None = None) -> Digested:  # fmt: skip
    """A record whose quantity adds up. `before`: total of the records before it, seq - 1 by default."""
    quantity = len(events) + len(items) + sum(one.items for one in outcomes)
    total = (seq - 1 if before is None else before) + quantity
    return Digested(Position(epoch, seq, total), quantity, list(events), list(items), list(outcomes))


def records(first: int, last: int, issues: int = 5, at: float = NOW) -> list[Digested]:
    """One event a record, numbered by seq."""
    return [record(seq, event(seq, 1 + seq % issues, at + seq / 1000)) for seq in range(first, last + 1)]

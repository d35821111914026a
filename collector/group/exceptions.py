"""Which exceptions of a tree say what happened (reference/grouping.md, sections 10.3 and 10.4).

A Python `ExceptionGroup` or a .NET `AggregateException` says little itself: the distinct exceptions below it do.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby

from collector.group.view import ExceptionView

REACT_MESSAGES = frozenset(
    {
        "There was an error during concurrent rendering but React was able to recover by instead synchronously "
        "rendering the entire root.",
        "There was an error while hydrating but React was able to recover by instead client rendering from the "
        "nearest Suspense boundary.",
    }
)
RXJAVA_MODULE = "io.reactivex.rxjava3.exceptions"
RXJAVA_TYPES = frozenset({"OnErrorNotImplementedException", "CompositeException", "UndeliverableException"})


def significant(
    exceptions: Sequence[ExceptionView], identity: Callable[[int], Hashable]
) -> tuple[list[int], int | None]:
    """The indexes of the exceptions to group by, and the id of the main exception when the tree names one.

    `identity` gives what two exceptions below one group must share to count as the same.
    """
    every = list(range(len(exceptions)))
    children = _children(exceptions)
    if children is None:
        return every, None
    root = next(index for index in every if _id(exceptions[index]) == 0)
    leaves = _below_groups(exceptions, children, root)
    if not leaves:
        return every, None
    leaves.sort(key=lambda index: str(exceptions[index].type), reverse=True)
    distinct = [next(same) for _, same in groupby(leaves, key=identity)] if len(leaves) > 1 else leaves
    if len(distinct) > 1:
        return [*distinct, root], None
    chain = _first_children(children, exceptions, distinct[0])
    return chain, _id(exceptions[distinct[0]])


def main_exception_id(exceptions: Sequence[ExceptionView]) -> int | None:
    """The id of the exception that a framework only wrapped, for the title; None when there is no such wrapper."""
    if len(exceptions) < 2:
        return None
    first, last = exceptions[0], exceptions[-1]
    caused = last.mechanism if last.mechanism and last.mechanism.source == "cause" else None
    if caused and first.type == "Error" and first.value in REACT_MESSAGES:
        return caused.exception_id or None
    for exception in exceptions:
        mechanism = exception.mechanism
        if (
            exception.module == RXJAVA_MODULE
            and exception.type in RXJAVA_TYPES
            and mechanism
            and mechanism.type == "UncaughtExceptionHandler"
        ):
            wrapped = (other for other in exceptions if _parent(other) == mechanism.exception_id)
            return next((_id(other) for other in wrapped if mechanism.exception_id is not None), None) or None
    return None


def chooses_by_texts(exceptions: Sequence[ExceptionView]) -> bool:
    """Whether `significant` or `main_exception_id` may look at the values of these exceptions."""
    return len(exceptions) > 1 and (
        exceptions[0].type == "Error"
        or any(each.mechanism and each.mechanism.is_exception_group for each in exceptions)
    )


def _id(exception: ExceptionView) -> int | None:
    return exception.mechanism.exception_id if exception.mechanism else None


def _parent(exception: ExceptionView) -> int | None:
    return exception.mechanism.parent_id if exception.mechanism else None


def _children(exceptions: Sequence[ExceptionView]) -> dict[int, list[int]] | None:
    """Exception id -> indexes of its children, last ones first; None when the ids do not make a tree with a root 0."""
    ids: set[int] = set()
    children: dict[int, list[int]] = {}
    for index in range(len(exceptions) - 1, -1, -1):
        own, parent = _id(exceptions[index]), _parent(exceptions[index])
        if own is None or own == parent or own in ids:
            return None
        ids.add(own)
        if parent is not None:
            children.setdefault(parent, []).append(index)
    return children if 0 in ids else None


def _below_groups(exceptions: Sequence[ExceptionView], children: dict[int, list[int]], root: int) -> list[int]:
    """The topmost exceptions that are no groups, depth first; none when the ids go round in a circle."""
    leaves, todo, seen = [], [root], 0
    while todo:
        index = todo.pop()
        seen += 1
        if seen > len(exceptions):
            return []
        mechanism = exceptions[index].mechanism
        if mechanism and mechanism.is_exception_group:
            todo.extend(reversed(children.get(mechanism.exception_id or 0, [])))
        else:
            leaves.append(index)
    return leaves


def _first_children(children: dict[int, list[int]], exceptions: Sequence[ExceptionView], index: int) -> list[int]:
    chain = [index]
    while (below := children.get(_id(exceptions[chain[-1]]) or 0)) and below[0] not in chain:
        chain.append(below[0])
    return chain

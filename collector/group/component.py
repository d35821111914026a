"""The component tree: what went into a hash, what did not, and why."""

from collections.abc import Hashable, Iterator

from msgspec import Struct

from collector.group.parameterize import parameterize
from collector.group.stack import Stack


class Node(Struct):
    """One component. It has a `value` (a leaf), or `children`, or a `stack` of which it is the variant `variant`.

    message: the value is a message; it is hashed without what varies in it. why: why it does not count, or what was
    done to it.
    """

    name: str
    contributes: bool = True
    value: str | None = None
    children: list["Node"] = []
    why: str = ""
    stack: Stack | None = None
    variant: str = ""
    message: bool = False
    hashed: str | None = None  # what `text` found; nothing below a component changes once it is asked

    def text(self) -> str:
        """What is hashed: the values of all leaves that count, without separators (section 15)."""
        if not self.contributes:
            return ""
        if self.stack is not None:
            return self.stack.variant(self.variant).text
        if self.value is not None:
            return parameterize(self.value) if self.message else self.value
        if self.hashed is None:
            self.hashed = "".join([child.text() for child in self.children if child.contributes])
        return self.hashed

    def leaves(self) -> Iterator[str]:
        """The texts of `text`, one by one."""
        if not self.contributes:
            return
        if self.stack is not None:
            variant = self.stack.variant(self.variant)
            for look, flag in zip(self.stack.looks, variant.flags, strict=True):
                if flag:
                    yield from (part.value for part in look.parts if part.contributes)
        elif self.value is not None:
            yield self.text()
        else:
            for child in self.children:
                yield from child.leaves()

    def has_contributing_stack(self) -> bool:
        """Whether a stack that counts is in it, with everything above it counting."""
        if not self.contributes:
            return False
        if self.stack is not None:
            return True
        for child in self.children:  # noqa: SIM110 - measured: `any` costs more than the question
            if child.has_contributing_stack():
                return True
        return False

    def uses_texts(self) -> bool:
        """Whether a message is part of what is hashed."""
        if not self.contributes:
            return False
        if self.message:
            return True
        for child in self.children:  # noqa: SIM110 - as above
            if child.uses_texts():
                return True
        return False

    def identity(self) -> Hashable:
        """Everything that two components must share to be the same component, what does not count included."""
        frames: Hashable = ()
        if self.stack is not None:
            variant = self.stack.variant(self.variant)
            looks = tuple((look.parts, look.why) for look in self.stack.looks)
            frames = (looks, variant.flags, variant.why)
        value = parameterize(self.value) if self.message and self.value is not None else self.value
        children = tuple(child.identity() for child in self.children)
        return (self.name, self.contributes, self.why, value, frames, children)


def of_stack(stack: Stack, variant: str) -> Node:
    """The component of one variant of a stack."""
    found = stack.variant(variant)
    return Node("stacktrace", found.contributes, why=found.stack_why, stack=stack, variant=variant)


def around(name: str, children: list[Node]) -> Node:
    """A component that counts when one of its children does."""
    return Node(name, True in [child.contributes for child in children], children=children)

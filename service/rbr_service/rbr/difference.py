"""What a change of a policy comes to: what reads otherwise, what is graded again, whose weights are void.

    Policy before, Policy after -> Difference: questions, derived names, response types, other keys

Names are compared as they stand: one that is called otherwise is one removed and one added.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rbr_service.rbr.policy import Policy, expand, spell
from rbr_service.rbr.schema import Condition, Proposition

T = TypeVar("T")
How = Literal["added", "removed", "changed"]
# Told by name, each on its own; the rest is told by key.
_TOLD = ("propositions", "rules", "derived")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """Something with a name. `old` None: there was none; `new` None: there is none any more."""

    name: str
    old: T | None
    new: T | None

    @property
    def how(self) -> How:
        """What became of it."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"


@dataclass(frozen=True, slots=True)
class Rule(Change[str]):
    """A condition in words. `through`: the derived names it reads that mean something else now."""

    through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TypeChange(Change[str]):
    """A response type's hash: its weights are void. `rules`: the classes whose condition changed, best first.

    `questions`: those it asks that changed. Where both are empty, features, traits or classes did: see the
    other keys.
    """

    rules: tuple[Rule, ...] = ()
    questions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What stands at a place in the policy file, as parsed; None: nothing."""

    place: tuple[str, ...]
    old: Any
    new: Any


@dataclass(frozen=True)
class Difference:
    """All that differs, in order of the names."""

    before: Policy
    after: Policy
    questions: tuple[Change[Proposition], ...]
    derived: tuple[Rule, ...]
    response_types: tuple[TypeChange, ...]
    other: tuple[KeyChange, ...]

    @property
    def same(self) -> bool:
        """Whether both mean the same; the order of the questions is no part of that."""
        return self.before.version == self.after.version

    @property
    def same_book(self) -> bool:
        """Whether a prompt that holds every question reads as it did: their order counts there."""
        return list(self.before.question_hashes.items()) == list(self.after.question_hashes.items())

    @property
    def keys(self) -> tuple[str, ...]:
        """The other top-level keys that changed, in the schema's order."""
        return tuple(dict.fromkeys(change.place[0] for change in self.other))

    @property
    def void(self) -> tuple[TypeChange, ...]:
        """Response types whose weights no longer belong to them."""
        return tuple(change for change in self.response_types if change.how != "added")

    @property
    def needy(self) -> tuple[str, ...]:
        """New response types, which need weights."""
        return tuple(change.name for change in self.response_types if change.how == "added")

    def graded_again(self, *, book: bool) -> tuple[str, ...]:
        """Questions whose kept verdicts no longer serve. `book`: every prompt holds all questions."""
        if book:
            return () if self.same_book else tuple(self.after.question_hashes)
        return tuple(change.name for change in self.questions if change.how != "removed")


def difference(before: Policy, after: Policy) -> Difference:
    """Compare two policies."""
    questions = tuple(_changes(before.file.propositions, after.file.propositions))
    return Difference(
        before,
        after,
        questions,
        derived=tuple(_conditions(before, after, before.file.derived, after.file.derived)),
        response_types=tuple(_types(before, after, questions)),
        other=tuple(_others(before, after)),
    )


def _changes(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[Change[T]]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def _types(before: Policy, after: Policy, questions: tuple[Change[Proposition], ...]) -> Iterator[TypeChange]:
    hashes = [{name: kind.hash for name, kind in one.response_types.items()} for one in (before, after)]
    for change in _changes(*hashes):
        rules = [one.file.rules.get(change.name, {}) for one in (before, after)]
        kinds = [one.response_types.get(change.name) for one in (before, after)]
        asked = {name for kind in kinds if kind for name in kind.propositions}
        found = {rule.name: rule for rule in _conditions(before, after, *rules)}
        best_first = dict.fromkeys((*after.file.classes, *before.file.classes))
        yield TypeChange(
            change.name, change.old, change.new,
            tuple(found[name] for name in best_first if name in found),
            tuple(one.name for one in questions if one.name in asked),
        )  # fmt: skip


def _conditions(
    before: Policy, after: Policy, old: Mapping[str, Condition], new: Mapping[str, Condition]
) -> Iterator[Rule]:
    """Named conditions that are worded otherwise, or mean something else by the derived names they read."""
    both = before.file.derived, after.file.derived
    moved = {name for name in {**both[0], **both[1]} if _meaning(name, both[0]) != _meaning(name, both[1])}
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        through = moved & _reads(was) & _reads(now)
        if through or _worded(was) != _worded(now):
            yield Rule(name, _words(was), _words(now), tuple(sorted(through)))


def _words(condition: Condition | None) -> str | None:
    return None if condition is None else spell(condition)


def _meaning(name: str, derived: Mapping[str, Condition]) -> Any:
    return expand(derived[name], derived) if name in derived else name


def _worded(condition: Condition | None) -> Any:
    """A condition in an order that does not depend on the file's."""
    return None if condition is None else expand(condition, {})


def _reads(condition: Condition | None) -> set[str]:
    parts = condition if isinstance(condition, list) else [condition or {}]
    return {name for part in parts for name in part}


def _others(before: Policy, after: Policy) -> Iterator[KeyChange]:
    old, new = (one.file.model_dump(exclude=set(_TOLD)) for one in (before, after))
    yield from _leaves((), old, new)


def _leaves(place: tuple[str, ...], old: Any, new: Any) -> Iterator[KeyChange]:
    if old == new:
        return
    mappings = [one for one in (old, new) if isinstance(one, dict)]
    if mappings and all(one is None or isinstance(one, dict) for one in (old, new)):
        for key in dict.fromkeys(key for one in mappings for key in one):
            yield from _leaves((*place, key), (old or {}).get(key), (new or {}).get(key))
        return
    yield KeyChange(place, old, new)

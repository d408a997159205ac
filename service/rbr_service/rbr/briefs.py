"""What a completion of a wanted class has to be like: propositions that must hold, and those that should.

    response type, class -> an assignment of true and false in that class -> Brief(must, rest)

`must` decides the class by itself: it is the path through the class's diagram that the assignment takes,
without what the class can do without. So a completion may differ from `rest` and still be in its class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rbr_service.rbr.policy import ResponseType

Assignment = dict[str, bool]
MOST_EXTRA = 2  # bad traits that a flawed completion may have beside those that make its class
FALSE, TRUE = 0, 1  # a diagram's terminals


@dataclass(frozen=True)
class Brief:
    """One completion to be written. `must` and `rest` together name all of `kind.propositions` once."""

    kind: ResponseType
    rank_class: str
    must: Assignment
    rest: Assignment


def class_of(kind: ResponseType, values: Mapping[str, bool]) -> str:
    """The class of a completion of which each of the rules' propositions is known."""
    found = kind.diagram.of_row([float(values[name]) for name in kind.diagram.variables])
    return kind.classes[found.index(1.0)]


def ideal(kind: ResponseType) -> Assignment:
    """Good traits true and all else false, but for what the rules of the best class want otherwise."""
    wanted = {name: name in kind.good for name in kind.propositions}
    return wanted | _path(kind, kind.classes[0], wanted)


def sample(kind: ResponseType, rank_class: str, rng: np.random.Generator) -> Brief:
    """A brief for a class of the type.

    Another class than the best begins with the ideal: one trait of it is turned so that the class comes
    out, or, where no single one does it, what a random path through the class's rules asks for. Then up
    to MOST_EXTRA further traits are turned to the bad, as far as the class stays.
    """
    best = ideal(kind)
    if rank_class == kind.classes[0]:
        asked = {*kind.diagram.variables, *kind.good, *kind.bad}
        return _brief(kind, rank_class, best, [name for name in best if name in asked])
    values, turned = _flawed(kind, rank_class, best, rng)
    for _ in range(rng.integers(MOST_EXTRA + 1)):
        worse = [name for name in _fair(kind, values) if class_of(kind, _turned(values, name)) == rank_class]
        if worse:
            turned.append(worse[rng.integers(len(worse))])
            values = _turned(values, turned[-1])
    return _brief(kind, rank_class, values, [*turned, *_needed(kind, rank_class, values, turned)])


def _flawed(
    kind: ResponseType, rank_class: str, best: Assignment, rng: np.random.Generator
) -> tuple[Assignment, list[str]]:
    """Values in the class that come from the best ones, and the names of those that differ."""
    turns = [name for name in best if class_of(kind, _turned(best, name)) == rank_class]
    if turns:
        chosen = turns[rng.integers(len(turns))]
        return _turned(best, chosen), [chosen]
    path = _path(kind, rank_class, best, rng)
    return best | path, [name for name in path if path[name] != best[name]]


def _needed(kind: ResponseType, rank_class: str, values: Assignment, turned: list[str]) -> list[str]:
    """Names that decide the class together with `turned`: none of them can be spared."""
    needed = [name for name in _path(kind, rank_class, values) if name not in turned]
    for name in tuple(needed):
        others = [other for other in needed if other != name]
        if _certain(kind, rank_class, {n: values[n] for n in (*turned, *others)}):
            needed = others
    return needed


def _certain(kind: ResponseType, rank_class: str, known: Assignment) -> bool:
    """Whether the class follows from what is known. Sums of powers of 2 are exact."""
    p = [float(known.get(name, 0.5)) for name in kind.diagram.variables]
    return kind.diagram.of_row(p)[kind.classes.index(rank_class)] == 1.0


def _brief(kind: ResponseType, rank_class: str, values: Assignment, must: list[str]) -> Brief:
    return Brief(
        kind, rank_class,
        {name: value for name, value in values.items() if name in must},
        {name: value for name, value in values.items() if name not in must},
    )  # fmt: skip


def _turned(values: Assignment, name: str) -> Assignment:
    return values | {name: not values[name]}


def _fair(kind: ResponseType, values: Assignment) -> list[str]:
    """Traits that are as they should be: good ones that are there, bad ones that are not."""
    return [name for name, value in values.items() if name in (kind.good if value else kind.bad)]


def _path(
    kind: ResponseType, rank_class: str, wanted: Assignment, rng: np.random.Generator | None = None
) -> Assignment:
    """Values along a path of the class's diagram that ends in true: all that the class needs.

    At each node the wanted value's branch is taken, or a random one with `rng`, where the class can still
    be reached by it. In a reduced diagram every node but the terminal false can.
    """
    diagram, path = kind.diagram, {}
    place = diagram.roots[diagram.classes.index(rank_class)]
    while place != TRUE:
        variable, low, high = diagram.nodes[place - 2]
        name = diagram.variables[variable]
        value = wanted[name] if rng is None else bool(rng.integers(2))
        if (high if value else low) == FALSE:
            value = not value
        path[name] = value
        place = high if value else low
    return path

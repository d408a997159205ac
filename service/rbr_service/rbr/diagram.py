"""Rules as decision diagrams: proofs about them, and exact class probabilities.

    {class: condition} -> RuleBook (dd) -> prove exclusive, exhaustive, reachable
                                        -> Diagram -> P(proposition) -> P(class)

A diagram's node asks one proposition; its value is low + p * (high - low), bottom-up. Under
independent propositions that is the exact probability that the class's condition holds, and
because the conditions are exclusive and exhaustive the classes sum to 1 without normalising.
Multiplying a rule's listed conditions instead counts shared propositions twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from dd.autoref import BDD
from numpy.typing import NDArray

Value = TypeVar("Value", float, NDArray[np.float64])
Conditions = Mapping[str, bool] | Sequence[Mapping[str, bool]]


@dataclass(frozen=True, slots=True)
class Diagram:
    """A compiled response type: evaluates to one probability per class.

    `variables` are the propositions it reads, in order. `nodes` are (variable, low, high), children
    first; values 0 and 1 are the terminals false and true, so node i's value has index i + 2.
    """

    variables: tuple[str, ...]
    classes: tuple[str, ...]
    nodes: tuple[tuple[int, int, int], ...]
    roots: tuple[int, ...]

    def probabilities(self, p: Sequence[Value], zero: Value, one: Value) -> list[Value]:
        """P of each class, best first, from P of each of `variables` (floats, or columns of n).

        `zero` and `one` are the two constants in the shape of a value.
        """
        values = [zero, one]
        for variable, low, high in self.nodes:
            base = values[low]
            values.append(base + p[variable] * (values[high] - base))
        return [values[root] for root in self.roots]

    def of_row(self, p: Sequence[float]) -> list[float]:
        """Class probabilities of one completion."""
        return self.probabilities(p, 0.0, 1.0)

    def of_rows(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, classes) class probabilities from (n, variables) proposition probabilities."""
        zero, one = np.zeros(len(p)), np.ones(len(p))
        return np.stack(self.probabilities(list(p.T), zero, one), axis=1)


class RuleBook:
    """All conditions of one policy over the same propositions, for proofs and compilation."""

    def __init__(self, propositions: Iterable[str], derived: Mapping[str, Conditions]) -> None:
        """`derived` must refer to known names without circles (checks.py and proofs.py see to it)."""
        self._bdd = BDD()
        self._bdd.declare(*propositions)
        self._derived = derived
        self._nodes: dict[str, Any] = {}

    def node(self, name: str) -> Any:
        """The diagram of a proposition or derived proposition."""
        if name not in self._nodes:
            known = name in self._derived
            self._nodes[name] = self.condition(self._derived[name]) if known else self._bdd.var(name)
        return self._nodes[name]

    def condition(self, condition: Conditions) -> Any:
        """The diagram of a condition: all of a mapping, or any mapping of a list."""
        if isinstance(condition, Mapping):
            literals = (self.node(n) if wanted else ~self.node(n) for n, wanted in condition.items())
            return reduce(lambda a, b: a & b, literals, self._bdd.true)
        return reduce(lambda a, b: a | b, map(self.condition, condition), self._bdd.false)

    def constant(self, node: Any) -> bool | None:
        """True or False when the condition always or never holds, None otherwise."""
        return True if node == self._bdd.true else False if node == self._bdd.false else None

    def witness(self, node: Any) -> dict[str, bool]:
        """One assignment of the propositions that `node` reads under which it holds."""
        found = self._bdd.pick(node, care_vars=self._bdd.support(node))
        return dict(sorted((found or {}).items()))

    def overlap(self, rules: Mapping[str, Conditions]) -> tuple[str, str, dict[str, bool]] | None:
        """Two classes that hold together and an example, or None: the classes are exclusive."""
        for first, second in combinations(rules, 2):
            both = self.condition(rules[first]) & self.condition(rules[second])
            if self.constant(both) is not False:
                return first, second, self.witness(both)
        return None

    def hole(self, rules: Mapping[str, Conditions]) -> dict[str, bool] | None:
        """An assignment that no class covers, or None: the classes are exhaustive."""
        covered = reduce(lambda a, b: a | b, map(self.condition, rules.values()), self._bdd.false)
        return None if self.constant(covered) is True else self.witness(~covered)

    def compile(self, rules: Mapping[str, Conditions]) -> Diagram:
        """The evaluation program of one response type, classes in the order given."""
        roots = {name: self.condition(condition) for name, condition in rules.items()}
        support = set().union(*(self._bdd.support(root) for root in roots.values()))
        variables = tuple(sorted(support, key=self._bdd.level_of_var))
        program = _Program({name: i for i, name in enumerate(variables)})
        indices = tuple(program.add(root) for root in roots.values())
        return Diagram(variables, tuple(rules), tuple(program.nodes), indices)


class _Program:
    """Lays a dd graph out as a list, children before parents, complemented edges resolved."""

    def __init__(self, variable: Mapping[str, int]) -> None:
        self.nodes: list[tuple[int, int, int]] = []
        self._variable = variable
        self._index = {-1: 0, 1: 1}  # dd's numbers of the terminals false and true

    def add(self, node: Any) -> int:
        """The index of `node`'s value, adding what is missing."""
        key = int(node)
        if key not in self._index:
            low, high = (~node.low, ~node.high) if node.negated else (node.low, node.high)
            row = (self._variable[node.var], self.add(low), self.add(high))
            self.nodes.append(row)
            self._index[key] = len(self.nodes) + 1
        return self._index[key]

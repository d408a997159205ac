"""What became of logged rewards, row by row and in sum.

Change (before, after, or why there is none) -> Summary: by response type, the largest movers
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MOVERS = 10
OUT_OF_SCOPE = "out_of_scope"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule makes of a sample. `kind` and `best`, its most probable class, None: out of scope."""

    kind: str | None
    best: str | None
    rbr_reward: float
    reward: float
    reward_version: str


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the log: what it earned and what it would have. `after` None: `code` and `why` tell."""

    content: str
    id: str | None
    time: datetime
    before: Outcome
    after: Outcome | None
    code: str = ""
    why: str = ""

    @property
    def moved(self) -> float:
        """The reward's change, 0 where there is none."""
        return self.after.reward - self.before.reward if self.after else 0.0


@dataclass
class OfType:
    """The rescored rows that had one response type: sums of rewards, and how many changed."""

    rows: int = 0
    before: float = 0.0
    after: float = 0.0
    other_class: int = 0
    other_type: int = 0

    def add(self, before: Outcome, after: Outcome) -> None:
        """Count one row. A class of another response type is another class."""
        self.rows += 1
        self.before += before.reward
        self.after += after.reward
        self.other_type += before.kind != after.kind
        self.other_class += (before.kind, before.best) != (after.kind, after.best)


@dataclass
class Summary:
    """All rows: by former response type, what failed and why, and the rewards that moved most."""

    types: dict[str, OfType] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)  # one of each code
    versions: set[str] = field(default_factory=set)
    _movers: list[tuple[float, int, Change]] = field(default_factory=list)
    _seen: int = 0

    def add(self, change: Change) -> None:
        """Count one row."""
        self._seen += 1
        self.versions.add(change.before.reward_version)
        if change.after is None:
            self.failed[change.code] += 1
            self.reasons.setdefault(change.code, change.why)
            return
        self.types.setdefault(change.before.kind or OUT_OF_SCOPE, OfType()).add(change.before, change.after)
        if change.moved:
            place = heapq.heappush if len(self._movers) < MOVERS else heapq.heappushpop
            place(self._movers, (abs(change.moved), -self._seen, change))

    @property
    def rescored(self) -> int:
        """Rows that have a new reward."""
        return sum(one.rows for one in self.types.values())

    @property
    def movers(self) -> list[Change]:
        """The largest changes first; of equal ones the first in the log."""
        return [change for *_, change in sorted(self._movers, reverse=True)]


def row(change: Change) -> dict[str, Any]:
    """A change as a row of an output file."""
    return {
        "content": change.content,
        "id": change.id,
        "time": change.time.isoformat(),
        "before": _outcome(change.before),
        "after": _outcome(change.after) if change.after else None,
        "change": change.moved if change.after else None,
        "error": None if change.after else {"code": change.code, "message": change.why},
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    return {"response_type": one.kind, "class": one.best, "rbr_reward": one.rbr_reward, "reward": one.reward,
            "reward_version": one.reward_version}  # fmt: skip

"""What an evaluation has found, as a table and as JSON.

Rates, where they come from -> Scorecard -> lines for a person | an object for programs -> lines beside others
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from rbr_trainer.data import rows
from rbr_trainer.errors import InputError
from rbr_trainer.evaluation.outcomes import Rates

NOW = "now"
FIGURES = {"not_unsafe": "Not-Unsafe", "not_overrefuse": "Not-Overrefuse", "f1": "F1"}


@dataclass(frozen=True)
class Scorecard:
    """Rates, and how they came about.

    `classes_by`: who said the answers' classes; `note`: what is to be known of that. `reward_version`: of the
    service, "" without one. `prompts`, `answers`: those in scope. `out_of_scope`: answers left aside. `cut`:
    answers that had no room for more, None where that is not known.
    """

    policy: str
    classes_by: str
    note: str
    reward_version: str
    answers: int
    prompts: int
    out_of_scope: int
    cut: int | None
    rates: Rates

    def content(self) -> dict[str, Any]:
        """As JSON holds it: every rate an object of value, low, high, answers, prompts, or null."""
        content = asdict(self)
        rates = content.pop("rates")
        return {**content, "shares": rates.pop("shares"), "rates": rates, "interval": "95%"}

    def lines(self) -> list[str]:
        """For a person, in percent as the paper has it."""
        head = [
            f"{'policy':16}{self.policy}",
            f"{'classes by':16}{self.classes_by}",
            *(f"{'':16}{line}" for line in wrap(self.note, 90)),
            *([f"{'reward version':16}{self.reward_version}"] if self.reward_version else []),
            f"{'answers':16}{self.answers} to {self.prompts} prompts; {self.out_of_scope} more out of scope",
            *([f"{'cut short':16}{self.cut}, for want of new tokens"] if self.cut is not None else []),
            f"{'intervals':16}95%, Wilson's, by the effective number of answers: those to a prompt are alike",
        ]
        return [*head, "", *side_by_side({"": self.content()}), *self._shares()]

    def _shares(self) -> list[str]:
        lines = []
        for kind, classes in self.rates.shares.items():
            first = next(iter(classes.values()))
            lines += ["", f"{kind}: {first.answers} answers to {first.prompts} prompts"]
            lines += [f"  {name:22}{_percent(asdict(share))}" for name, share in classes.items()]
        return lines


def load(path: Path) -> dict[str, Any]:
    """The content that an earlier evaluation wrote. Raises InputError."""
    try:
        content = rows.loads(path.read_bytes())
        for name in FIGURES:
            _percent(content["rates"][name])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not what `rbr-train evaluate --json` writes ({error!r})") from error
    return dict(content)


def side_by_side(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The three figures, an evaluation a column."""
    head = [(f"{'':16}" + "".join(f"{name:24}" for name in cards)).rstrip()] if any(cards) else []
    return head + [
        (f"{title:16}" + "".join(f"{_percent(card['rates'][name]):24}" for card in cards.values())).rstrip()
        for name, title in FIGURES.items()
    ]


def compared(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The figures side by side, with a warning where they were not measured alike."""
    lines = side_by_side(cards)
    for key, what in (
        ("policy", "policies"),
        ("classes_by", "judges"),
        ("reward_version", "reward versions"),
    ):
        if len({str(card.get(key)) for card in cards.values()}) > 1:
            lines.append(f"these come of different {what}, and do not compare")
    return lines


def names(paths: Sequence[Path]) -> list[str]:
    """A column's name for each file: distinct, and other than the one for what is measured now."""
    short = [path.stem[:22] for path in paths]
    taken = [*short, NOW]
    return [name if taken.count(name) == 1 else f"{i}: {name[:18]}" for i, name in enumerate(short, 1)]


def _percent(rate: Mapping[str, float] | None) -> str:
    if rate is None:
        return "-"
    value, low, high = (100 * rate[name] for name in ("value", "low", "high"))
    return f"{value:6.2f}  {low:.1f} to {high:.1f}"

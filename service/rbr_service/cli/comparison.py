"""What `rbr fit` and `rbr ablate` share: ranked completions, read, graded and split by prompt.

--data, --held-out, ... -> Experiment -> {response type: Comparison(train, held out)}
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from rbr_service import ranked
from rbr_service.backends import beside, make_base_reward, make_grader
from rbr_service.build import load_calibration
from rbr_service.cli import grading
from rbr_service.cli.grading import Graded, Judges
from rbr_service.cli.progress import say
from rbr_service.errors import DataError, SettingsError
from rbr_service.graders.base import Grader
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.ranked import Entry
from rbr_service.rbr import simulation
from rbr_service.rbr.calibration import Calibration
from rbr_service.rbr.fit import Objective
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import held_out as split
from rbr_service.rewards.base import BaseReward
from rbr_service.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Share(click.ParamType[float | Path]):
    """A share of the prompts, or a file."""

    name = "SHARE|FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | Path:
        """A number from 0 to below 1, else a path."""
        try:
            share = float(value)
        except ValueError:
            return Path(value)
        if not 0 <= share < 1:
            self.fail(f"{value}: a share lies between 0 and 1", param, ctx)
        return share


class SimulatedError(NamedTuple):
    """A response type and how often its made-up base reward ranks a pair wrongly."""

    name: str
    error: float

    def __str__(self) -> str:
        return f"{self.name}={self.error:g}"


class PerType(click.ParamType[SimulatedError]):
    """TYPE=ERROR."""

    name = "TYPE=ERROR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SimulatedError:
        """The name and its number."""
        name, _, number = str(value).partition("=")
        try:
            error = float(number)
        except ValueError:
            error = 0.0
        if not 0 < error < 1:
            self.fail(f"{value}: a type and a share between 0 and 1, such as hard_refusal=0.70", param, ctx)
        return SimulatedError(name, error)


class Number(click.FloatRange):
    """A number in a range; a range of click's lets NaN pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value} is no number", param, ctx)
        return found


MARGIN = Number(0, 1e6, min_open=True)
DATA_OPTIONS = (
    click.option("--data", type=click.Path(path_type=Path),
                 help="Ranked completions. Default: POLICY.ranked.jsonl beside the policy."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                 help="Decides the split, the resampling and the simulated reward."),
    click.option("--simulate-base-reward", "simulated", type=PerType(), multiple=True,
                 help="Without a reward model: a made-up one, normal with standard deviation 1, that ranks "
                      "this share of a type's pairs wrongly. The weights' origin says so; they are bound to "
                      "--base-reward none."),
)  # fmt: skip
FIT_OPTIONS = (
    click.option("--held-out", type=Share(), default=0.2, show_default=True,
                 help="The evidence comes from this share of the prompts, or from another file of ranked "
                      "completions; 0 fits on all and shows none."),
    click.option("--margin", type=MARGIN, default=1.0, show_default=True,
                 help="By how much the better completion's reward should lead."),
    click.option("--margin-between", type=(str, str, MARGIN), multiple=True, metavar="BETTER WORSE NUMBER",
                 help="Another margin for completions of these two classes."),
    click.option("--weight", type=click.Choice(["pair", "prompt"]), default="pair", show_default=True,
                 help="Whether each pair counts the same, as in the paper, or each prompt."),
    click.option("--l2", type=Number(0, 1e6), default=1e-4, show_default=True,
                 help="Holds the weights small; with 0 separable data has no single best weights."),
)  # fmt: skip
NAMES = ("data", "held_out", "seed", "simulated", "margin", "margin_between", "weight", "l2")


def data_options(command: F) -> F:
    """Adds the options that say which completions are compared; `taken` finds their values."""
    return reduce(lambda decorated, option: option(decorated), reversed(DATA_OPTIONS), command)


def comparison_options(command: F) -> F:
    """Adds those of `data_options`, and those that say what is held out and minimised."""
    return data_options(reduce(lambda decorated, option: option(decorated), reversed(FIT_OPTIONS), command))


def taken(flags: dict[str, Any]) -> dict[str, Any]:
    """Takes the values of the options above out of a command's arguments."""
    return {name: flags.pop(name) for name in NAMES if name in flags}


@dataclass(frozen=True)
class Experiment:
    """What is to be compared, and what is minimised."""

    data: Path
    held_out: float | Path
    seed: int
    simulated: Mapping[str, float]
    objective: Objective

    @classmethod
    def read(cls, asked: Mapping[str, Any], path: Path, policy: Policy, settings: Settings) -> "Experiment":
        """From what `taken` found; `path` is the policy's file. Raises DataError, SettingsError."""
        data = asked["data"] or beside(path, ".ranked.jsonl")
        if not data.is_file():
            raise DataError(
                f"{data}: no ranked completions there: make some (rbr synthesize --help) or name --data"
            )
        simulated = dict(asked["simulated"])
        _known("--simulate-base-reward", simulated, policy.response_types)
        if simulated and settings.base_reward != "none":
            raise SettingsError(f"--simulate-base-reward: there is a base reward ({settings.base_reward})")
        objective = _objective(asked, policy) if "margin" in asked else Objective()
        return cls(data, asked.get("held_out", 0.0), asked["seed"], simulated, objective)

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return [self.data, *([self.held_out] if isinstance(self.held_out, Path) else [])]


def _objective(asked: Mapping[str, Any], policy: Policy) -> Objective:
    margins = {(better, worse): number for better, worse, number in asked["margin_between"]}
    classes = policy.file.classes
    for better, worse in margins:
        _known("--margin-between", (better, worse), classes)
        if classes.index(better) >= classes.index(worse):
            raise SettingsError(f"--margin-between: {better!r} is no better class than {worse!r}")
    return Objective(asked["margin"], margins, asked["weight"], asked["l2"])


def _known(option: str, names: Any, known: Any) -> None:
    for name in names:
        if name not in known:
            raise SettingsError(f"{option}: the policy has no {name!r}; it has {', '.join(known)}")


@dataclass(frozen=True)
class Comparison:
    """One response type's completions. `held_out` is None where nothing is."""

    train: Graded
    held_out: Graded | None


@dataclass(frozen=True)
class Backends:
    """What grades and pays, not started yet."""

    grader: Grader
    calibration: Calibration | None
    base: BaseReward

    @classmethod
    def make(cls, settings: Settings, policy: Policy, path: Path) -> "Backends":
        """As the settings say. Raises StartupError."""
        grader = make_grader(settings, policy, path, Metrics(), serving=False)
        calibration = load_calibration(settings, policy, path, grader)
        return cls(grader, calibration, make_base_reward(settings, serving=False))


async def compare(
    experiment: Experiment, policy: Policy, backends: Backends, settings: Settings
) -> dict[str, Comparison]:
    """Read, grade and split. Raises DataError, GraderError, BaseRewardError."""
    given = settings.base_reward == "given"
    train, *held = (ranked.read(file, policy, given=given, report=_note) for file in experiment.files)
    entries = [train, *(_others(part, train) for part in held)]
    judges = Judges(backends.grader, backends.calibration, backends.base, settings.min_label_mass)
    async with started(backends.grader), started(backends.base):
        found = {}
        for name, kind in policy.response_types.items():
            sided = Judges(**{**vars(judges), "simulated": _simulation(experiment, name)})
            sets = [await grading.graded(kind, part[name], sided, f"grading {name}") for part in entries]
            found[name] = Comparison(*sets) if len(sets) > 1 else _split(sets[0], experiment)
    return found


def _note(line: str) -> None:
    say(f"note: {line}")


def _others(held: Mapping[str, list[Entry]], train: Mapping[str, list[Entry]]) -> dict[str, list[Entry]]:
    """The held-out completions without those of prompts that the fit sees too. Raises DataError for none."""
    found = {}
    for name, entries in held.items():
        seen = {entry.prompt for entry in train[name]}
        found[name] = [entry for entry in entries if entry.prompt not in seen]
        if left_out := len({entry.prompt for entry in entries} & seen):
            if not found[name]:
                raise DataError(
                    f"{entries[0].place}: {name}: all held-out prompts are in the data of the fit"
                )
            _note(f"{name}: {left_out} held-out prompts left out, they are in the data of the fit")
    return found


def _simulation(experiment: Experiment, name: str) -> grading.Simulation | None:
    error = experiment.simulated.get(name)
    if error is None:
        return None

    def simulated(entry: Entry, rank: int) -> float:
        text = [entry.prompt, entry.conversation.completion]
        return simulation.base_reward(text, best=rank == 0, error=error, seed=experiment.seed)

    return simulated


def _split(graded: Graded, experiment: Experiment) -> Comparison:
    assert isinstance(experiment.held_out, float)
    if not experiment.held_out or not graded.entries:
        return Comparison(graded, None)
    out = split([entry.prompt for entry in graded.entries], experiment.held_out, experiment.seed)
    sides: tuple[Sequence[int], ...] = tuple(
        [i for i, entry in enumerate(graded.entries) if (entry.prompt in out) is wanted]
        for wanted in (False, True)
    )
    return Comparison(*(graded.take(side) for side in sides))

"""From settings to a scorer: loads the policy, the grader and the weights, and binds them.

Settings -> policy file, cues, weights JSON -> Scorer, or the StartupError that says why not
"""

import shlex
from importlib.resources import files
from pathlib import Path

from rbr_service.errors import SettingsError
from rbr_service.graders.base import Grader
from rbr_service.graders.lexical import LexicalGrader
from rbr_service.metrics import Metrics
from rbr_service.rbr.model import GraderIdentity, Weights, bind
from rbr_service.rbr.policy import Policy, load
from rbr_service.scorer import Scorer
from rbr_service.settings import Settings


def rules_folder() -> Path:
    """Where the shipped policies lie (the data package rbr_rules)."""
    return Path(str(files("rbr_rules")))


def policy_path(policy: str) -> Path:
    """The file of a shipped policy's name, or the path given. Raises SettingsError."""
    if policy.endswith((".yaml", ".yml")) or "/" in policy:
        return Path(policy)
    path = rules_folder() / f"{policy}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in rules_folder().glob("*.yaml") if "." not in p.stem))
        raise SettingsError(
            f"policy: {policy!r} is not shipped; shipped: {shipped}; or give a file's path (*.yaml)"
        )
    return path


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a policy file: `safety.yaml`, `.lexical.json` -> `safety.lexical.json`."""
    return path.with_name(path.name.rsplit(".", 1)[0] + suffix)


def make_grader(policy: Policy, path: Path) -> Grader:
    """The grader of a policy: cues stand beside the policy file. Raises StartupError."""
    cues = beside(path, ".lexical.yaml")
    if not cues.is_file():
        raise SettingsError(
            f"{cues}: the lexical grader has no cues for this policy: write them there; "
            "the format stands at the head of the shipped safety.lexical.yaml"
        )
    return LexicalGrader.from_file(cues, policy.file.propositions)


def identity(grader: Grader) -> GraderIdentity:
    """What weights remember of a grader."""
    return GraderIdentity(name=grader.name, fingerprint=grader.fingerprint)


def weights_path(settings: Settings, grader: Grader, path: Path) -> Path:
    """The weights file in force: as set, or POLICY.GRADER.json beside the policy."""
    return settings.weights or beside(path, f".{grader.name}.json")


def fit_command(policy: str, grader: str, base_reward: str, data: str = "", output: str = "") -> str:
    """The command that makes the weights of a policy, grader and base reward, ready to paste."""
    command = ["rbr", "fit", "--policy", policy, "--grader", grader, "--base-reward", base_reward]
    command += ["--data", data] if data else []
    return shlex.join([*command, "-o", output] if output else command)


def _remedy(settings: Settings, grader: Grader, file: Path) -> str:
    """How to come by weights; those for given base rewards need data that brings them."""
    if settings.base_reward == "none":
        return fit_command(settings.policy, grader.name, "none", output=str(file))
    data, output = "ranked-with-base-rewards.jsonl", "weights.json"
    command = fit_command(settings.policy, grader.name, settings.base_reward, data, output)
    return (
        f"{command}, each of the data's completions with its base_reward; then start with --weights {output}"
    )


def make_scorer(settings: Settings, metrics: Metrics, grader: Grader | None = None) -> Scorer:
    """A scorer bound to matching weights; `grader` stands in for the configured one.

    Raises StartupError.
    """
    path = policy_path(settings.policy)
    policy = load(path)
    grader = grader or make_grader(policy, path)
    file = weights_path(settings, grader, path)
    remedy = _remedy(settings, grader, file)
    model = bind(
        policy, Weights.load(file, remedy), identity(grader), settings.base_reward,
        accept_mismatch=settings.accept_mismatch, remedy=remedy,
    )  # fmt: skip
    return Scorer(policy, model, grader, settings.base_reward, metrics)

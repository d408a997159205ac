"""From settings to a scorer: loads the policy and the weights, and binds them to grader and base reward.

Settings -> policy file, backends, weights JSON -> Scorer, or the StartupError that says why not
"""

import json
import shlex
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from rbr_service.backends import beside, grader_of, make_base_reward, make_grader
from rbr_service.errors import CalibrationError, SettingsError, UnknownPolicyError
from rbr_service.graders.base import Grader
from rbr_service.metrics import Metrics
from rbr_service.rbr.calibration import NONE, Calibration, GraderIdentity
from rbr_service.rbr.model import Weights, bind
from rbr_service.rbr.policy import Policy, load
from rbr_service.scorelog.writer import ScoreLog
from rbr_service.scorer import LowMass, Scorer
from rbr_service.settings import Settings

# The settings that weights depend on, so that a command that fits them has to repeat them.
ALWAYS = ("grader", "base_reward")
GRADED_WITH = (
    "grader", "grader_model", "grader_tokenizer", "grader_revision", "grader_precision", "grader_url",
    "grader_context", "layout", "min_label_mass", "vllm_args",
)  # fmt: skip
WRITTEN_FOR = (*GRADED_WITH, "calibration")
FITTED_TO = (
    *GRADED_WITH, "calibration", "base_reward", "base_reward_url", "base_reward_model",
    "base_reward_tokenizer",
)  # fmt: skip


def rules_folder() -> Path:
    """Where the shipped policies lie (the data package rbr_rules)."""
    return Path(str(files("rbr_rules")))


def policies(folder: Path) -> dict[str, Path]:
    """The policy files of a folder by name, in order; files that belong to one have a further dot."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if "." not in path.stem}


def known(settings: Settings) -> dict[str, str]:
    """The policies that can be named, each as the setting `policy` takes it.

    The configured one goes before those of --policies, and those before the shipped ones.
    """
    shipped = {name: name for name in policies(rules_folder())}
    own = {name: str(path) for name, path in policies(settings.policies).items()} if settings.policies else {}
    return shipped | own | {Path(settings.policy).stem: settings.policy}


def named(settings: Settings, name: str) -> Settings:
    """The settings that serve a policy by its name: the configured one, one of --policies, or a shipped one.

    A name is looked up among those, and never made into a path. Raises UnknownPolicyError.
    """
    if name == Path(settings.policy).stem:
        return settings
    files = known(settings)
    if name not in files:
        raise UnknownPolicyError(
            f"there is no policy {name[:80]!r} here; there are: {', '.join(sorted(files))}; "
            "more may lie in the folder of --policies as NAME.yaml"
        )
    # Both files belong to the configured policy; to go without calibration is meant for any.
    calibration = settings.calibration if str(settings.calibration) == NONE else None
    return settings.model_copy(update={"policy": files[name], "weights": None, "calibration": calibration})


def policy_path(policy: str) -> Path:
    """The file of a shipped policy's name, or the path given. Raises SettingsError."""
    if policy.endswith((".yaml", ".yml")) or "/" in policy:
        return Path(policy)
    path = rules_folder() / f"{policy}.yaml"
    if not path.is_file():
        shipped = ", ".join(policies(rules_folder()))
        raise SettingsError(
            f"policy: {policy!r} is not shipped; shipped: {shipped}; or give a file's path (*.yaml)"
        )
    return path


def identity(grader: Grader) -> GraderIdentity:
    """What weights remember of a grader."""
    return GraderIdentity(name=grader.name, fingerprint=grader.fingerprint)


def weights_path(settings: Settings, grader: Grader, path: Path) -> Path:
    """The weights file in force: as set, or POLICY.GRADER.json beside the policy."""
    return settings.weights or beside(path, f".{grader.name}.json")


def calibration_path(settings: Settings, grader: Grader, path: Path) -> Path | None:
    """The calibration file in force: as set, or POLICY.GRADER.calibration.json beside the policy if there."""
    if settings.calibration is None:
        usual = beside(path, f".{grader.name}.calibration.json")
        return usual if usual.is_file() else None
    return None if str(settings.calibration) == NONE else settings.calibration


def load_calibration(settings: Settings, policy: Policy, path: Path, grader: Grader) -> Calibration | None:
    """The calibration in force, None where there is none. Raises CalibrationError."""
    file = calibration_path(settings, grader, path)
    if file is None:
        return None
    remedy = (
        f"{command('calibrate', settings, GRADED_WITH)} --gold labelled.jsonl -o {shlex.quote(str(file))}"
    )
    calibration = Calibration.load(file, remedy)
    found = calibration.mismatches(identity(grader), policy.question_hashes)
    if found and not settings.accept_mismatch:
        raise CalibrationError(
            f"{file}: {'; '.join(found)}: make it anew with: {remedy} (or go without: --calibration none)"
        )
    return calibration


def fit_command(settings: Settings, data: str = "", output: str = "") -> str:
    """The command that makes weights for a policy, grader and base reward, ready to paste."""
    extra = (["--data", data] if data else []) + (["-o", output] if output else [])
    return " ".join(filter(None, [command("fit", settings, FITTED_TO), shlex.join(extra)]))


def command(name: str, settings: Settings, depends: Iterable[str]) -> str:
    """`rbr NAME` with the policy and those of the settings it depends on that differ from the defaults."""
    words = ["rbr", name, "--policy", settings.policy]
    for key in depends:
        value = getattr(settings, key)
        if value not in (None, {}):
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            default = Settings.model_fields[key].default
            words += [f"--{key.replace('_', '-')}", text] if key in ALWAYS or value != default else []
    return shlex.join(words)


def how_to_fit(settings: Settings, file: Path) -> str:
    """How to come by weights, and by ranked completions first where none lie beside the policy.

    Those for given base rewards need data that brings them.
    """
    data = "" if beside(policy_path(settings.policy), ".ranked.jsonl").is_file() else "ranked.jsonl"
    first = f"{command('synthesize', settings, WRITTEN_FOR)} --unfiltered -o {data} && " if data else ""
    if settings.base_reward == "none" and not file.is_file():
        return f"{first}{fit_command(settings, data, str(file))}"
    output = "weights.json"
    if settings.base_reward != "given":
        return f"{first}{fit_command(settings, data, output)}, then start with --weights {output}"
    data = "ranked-with-base-rewards.jsonl"
    return (
        f"{fit_command(settings, data, output)}, each of the data's completions with its base_reward; then "
        f"start with --weights {output}"
    )


def make_log(settings: Settings, metrics: Metrics) -> ScoreLog | None:
    """The score log, None where none is kept. Raises SettingsError."""
    if settings.score_log is None:
        return None
    return ScoreLog(
        settings.score_log, metrics, share=settings.score_log_share, texts=settings.score_log_texts
    )


def make_scorer(
    settings: Settings,
    metrics: Metrics,
    grader: Grader | None = None,
    *,
    serving: bool = False,
    before: Scorer | None = None,
) -> Scorer:
    """A scorer bound to matching weights; `grader` stands in for the configured one.

    `before`: a scorer of another policy under the same settings, whose engine, cache and source of base
    rewards go on being used. Raises StartupError.
    """
    path = policy_path(settings.policy)
    policy = load(path)
    if before:
        base, grader = before.base, grader_of(policy, path, before.grader)
    else:
        base = make_base_reward(settings, serving=serving)
        grader = grader or make_grader(settings, policy, path, metrics, serving=serving)
    file = weights_path(settings, grader, path)
    remedy = how_to_fit(settings, file)
    model = bind(
        policy, Weights.load(file, remedy), identity(grader), base.source,
        calibration=load_calibration(settings, policy, path, grader),
        accept_mismatch=settings.accept_mismatch, remedy=remedy,
    )  # fmt: skip
    low_mass = LowMass(settings.on_low_mass, settings.min_label_mass)
    deadline = settings.grader_deadline if serving else None
    return Scorer(policy, model, grader, base, metrics, low_mass, deadline)

"""The command that starts OpenRLHF.

RunConfig -> flags -> Command: environment and words, here or through `ray job submit`
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rbr_trainer.errors import InputError
from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.flags import flags
from rbr_trainer.runs.secrets import HUB, KEY, NAMES, WANDB, filled, place, shown

MODULE = "openrlhf.cli.train_ppo_ray"

Line = tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """`environment`: variables to add to this process's. `lines`: the words of the command."""

    environment: Mapping[str, str]
    lines: tuple[Line, ...]

    def argv(self, environ: Mapping[str, str]) -> list[str]:
        """The words, secrets filled in from `environ`."""
        return [filled(word, environ) for line in self.lines for word in line]

    def printed(self) -> str:
        """As a person may paste it into a shell that has the secrets in its environment."""
        assigned = [f"{name}={shown(value)}" for name, value in self.environment.items()]
        return " \\\n  ".join([*assigned, *(" ".join(map(shown, line)) for line in self.lines)])


def command(config: RunConfig, environ: Mapping[str, str], python: str) -> Command:
    """What starts the run; `python` is this environment's. `environ` tells which secrets there are.

    Raises InputError for what cannot be handed over without printing a secret, or at all.
    """
    given = [name for name in NAMES if environ.get(name)]
    decided = {k: v for k, v in flags(config, KEY in given).items() if v is not None and v is not False}
    options = [(f"--{flag}", *_words(value)) for flag, value in {**decided, **config.extra}.items()]
    if config.ray.address:
        return _submitted(config, options, given)
    return Command(variables(config), ((python, "-m", MODULE), *options))


def variables(config: RunConfig) -> dict[str, str]:
    """What the agent reads, in every process that generates."""
    if config.reward.client == "plain":
        return {}
    patience, version = config.reward.patience, config.reward.version
    return {  # an empty one stands for none, and is said so that none is inherited
        "RBR_REWARD_URL": ",".join(config.reward.urls),
        "RBR_REWARD_PATIENCE": "" if patience is None else str(patience),
        "RBR_REWARD_VERSION": "" if version == "any" else version,
    }


def _submitted(config: RunConfig, options: list[Line], given: list[str]) -> Command:
    """Through Ray's job server, which starts it on the cluster: `python` is that of its image."""
    agent = config.reward.client == "agent"
    if KEY in given and not agent:
        raise InputError(
            f"reward.client plain puts {KEY} into the command, which Ray writes into the job's log: "
            "set reward.client: agent"
        )
    needed = {KEY: agent, WANDB: config.output.wandb is not None, HUB: True}
    secrets = {name: place(name, "json") for name in given if needed[name]}
    env_vars = {**config.ray.env_vars, **variables(config), **secrets}
    runtime_env = {**config.ray.runtime_env, "env_vars": env_vars}
    folder = config.ray.working_dir
    head: list[Line] = [
        ("ray", "job", "submit", "--address", str(config.ray.address)),
        *([("--working-dir", folder)] if folder else []),
        ("--runtime-env-json", json.dumps(runtime_env).replace("\\u0000", "\0")),
    ]
    job: list[Line] = [("--", "python", "-m", MODULE), *options]
    return Command({}, (*head, *(tuple(map(_carried, line)) for line in job)))


def _carried(word: str) -> str:
    """The word to give to `ray job submit` so that OpenRLHF gets it as it was.

    Ray joins words by Windows' rules (subprocess.list2cmdline) and has a POSIX shell split them. Raises
    InputError for what survives neither way.
    """
    if not re.search(r"[\s\"'\\]", word):
        return shlex.quote(word)
    if re.search("[ \t]", word) and not re.search(r"[\"$`\\]", word):
        return word  # Ray puts it between double quotes
    raise InputError(f"`ray job submit` cannot carry {word!r}: leave quotes, $, ` and \\ out of it")


def _words(value: Any) -> Line:
    if value is True:
        return ()
    return tuple(map(_word, value)) if isinstance(value, (list, tuple)) else (_word(value),)


def _word(value: Any) -> str:
    """Numbers below zero go without an exponent: argparse takes -1e-05 for a flag."""
    return format(Decimal(repr(value)), "f") if isinstance(value, float) and value < 0 else str(value)

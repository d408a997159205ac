"""What goes on to OpenRLHF and Ray as it stands, and what is written."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.flags import flags, known
from rbr_trainer.runs.misfits.misfit import Misfit
from rbr_trainer.runs.secrets import NAMES

IDLE = (
    "reward.model_name_or_path",
    "reward.normalize_enable",
    "reward.offload",
    "train.colocate_critic_reward",
)
# OpenRLHF hands these to Ray itself, which refuses a variable that the job sets too.
OPENRLHF_SETS = ("TOKENIZERS_PARALLELISM", "NCCL_DEBUG", "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS")
OVERRIDE = "RAY_OVERRIDE_JOB_RUNTIME_ENV"


def found(c: RunConfig) -> Iterator[Misfit]:
    """See `misfits`."""
    yield from _output(c)
    yield from _ray(c)
    yield from _extra(c)


def _output(c: RunConfig) -> Iterator[Misfit]:
    for key, wanted in (("output.save_hf", c.output.save_hf), ("output.resume", c.output.resume)):
        if wanted and not c.output.save_every:
            yield Misfit.of(
                key,
                "is about checkpoints, and none is written: set output.save_every, in rollouts, or remove "
                "it (the trained policy is saved in any case)",
            )


def _ray(c: RunConfig) -> Iterator[Misfit]:
    r = c.ray
    for key in ("working_dir", "agent_path", "env_vars", "runtime_env"):
        if getattr(r, key) and not r.address:
            yield Misfit.of(f"ray.{key}", "is for runs that are submitted: set ray.address, or remove it")
    if r.agent_path and (c.reward.client == "plain" or not r.agent_path.endswith(".py")):
        yield Misfit.of(
            "ray.agent_path", "is the agent.py of rbr_trainer on the nodes, for reward.client: agent"
        )
    for key in ("working_dir", "env_vars"):
        if key in r.runtime_env:
            yield Misfit.of(f"ray.runtime_env.{key}", f"has a key of its own: set ray.{key} instead")
    for name in r.env_vars:
        if problem := _variable(name, overriding=r.env_vars.get(OVERRIDE) == "1"):
            yield Misfit((("ray", "env_vars", name),), problem)


def _variable(name: str, overriding: bool) -> str:
    """Why a job's environment cannot set it; "" where it can."""
    if name in NAMES:
        return "is a secret, which this file is no place for: set it in the environment"
    if name.startswith("RBR_REWARD_"):
        return "is what the group `reward` says: remove it"
    if name in OPENRLHF_SETS and not overriding:
        return f"OpenRLHF sets it too, and Ray refuses both: add {OVERRIDE}: '1'"
    return ""


def _extra(c: RunConfig) -> Iterator[Misfit]:
    own, kinds = flags(c), known()
    for flag, value in c.extra.items():
        if problem := _flag(flag, value, kinds, flag in own):
            yield Misfit((("extra", flag),), problem)


def _flag(flag: str, value: Any, kinds: Mapping[str, frozenset[str]], own: bool) -> str:
    """Why OpenRLHF cannot have it; "" where it can."""
    names = sorted(name for kind in kinds.values() for name in kind)
    if own:
        return "is what another key of this file decides: see `rbr-train run --dry-run` and --example"
    if flag in IDLE:
        return "has no effect where a service gives the reward: remove it"
    if flag not in names:
        near = get_close_matches(flag.lstrip("-"), names, n=1)
        return f"OpenRLHF 0.11.2 has no such flag{f'; did you mean {near[0]}?' if near else ': remove it'}"
    if flag in kinds["switches"]:
        return "" if value is True else "is a switch: set it to true, or remove it"
    values = value if isinstance(value, list) and flag in kinds["lists"] else [value]
    if not values or not all(_is_word(one) for one in values):
        some = "a list of texts or numbers" if flag in kinds["lists"] else "one text or number"
        return f"must be {some}; a text may not begin with a dash"
    return ""


def _is_word(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value) and not value.startswith("-") and "\0" not in value
    return isinstance(value, (int, float)) and not isinstance(value, bool)

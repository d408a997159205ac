"""The reward function for TRL's GRPO and RLOO trainers.

    prompts, completions, the dataset's columns -> Sample ... -> rewards, and the curves of their parts

    from rbr_trainer.adapters.trl import rbr_reward
    GRPOTrainer(model, reward_funcs=rbr_reward, ...)

The environment names the service (`Client.from_environment`). A failure ends the run: never None, which TRL
takes for an abstention and trains on without.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from rbr_trainer.adapters.sample import Messages, Sample, earned
from rbr_trainer.errors import InputError


async def rbr_reward(
    prompts: Sequence[str | Messages],
    completions: Sequence[str | Messages],
    label: Sequence[Any] | None = None,
    base_reward: Sequence[float | None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float]:
    """Rewards in the order of the prompts, plain or conversational.

    `label` is the dataset's column of response types or categories; `base_reward` one of helpful-only
    rewards, for a service that wants them given. Raises InputError without labels, ServiceError.
    """
    if label is None:
        raise InputError(
            "the dataset has no column `label`, so that no prompt says how it is to be answered: `rbr-train "
            "prepare --for trl` writes it; an empty text leaves a prompt to the policy's `unlabelled`"
        )
    base = base_reward if base_reward is not None else [None] * len(prompts)
    rows = zip(prompts, completions, label, base, strict=True)
    rewards = await earned(Sample(*row) for row in rows)
    if log_metric and rewards:
        for name in rewards[0].extra_logs:
            log_metric(name, fmean(reward.extra_logs[name] for reward in rewards))
    return [reward.reward for reward in rewards]

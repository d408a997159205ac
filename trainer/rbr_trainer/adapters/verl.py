"""The reward function for verl.

    completion, label (ground truth), the prompt's messages (extra info) -> Sample -> score and its parts

    reward.custom_reward_function.path: this file; reward.custom_reward_function.name: compute_score

`rbr-train prepare --for verl` writes the rows. The environment names the service (`Client.from_environment`).
verl's trainer logs a failure and leaves the prompt's group out; what it trains on is never a made-up number.
"""

from collections.abc import Mapping
from typing import Any

from rbr_trainer.adapters.sample import Sample, earned
from rbr_trainer.errors import InputError


async def compute_score(
    data_source: str,  # noqa: ARG001 - verl passes it by name
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, float]:
    """The reward as `score`, and the parts of it: the same keys for every sample.

    `extra_info` holds `messages`, the prompt, and `base_reward` where the service wants one given. Raises
    InputError, ServiceError.
    """
    extra = extra_info or {}
    if extra.get("messages") is None:
        raise InputError(
            "extra_info holds no `messages`, so that nothing tells what was asked: write the rows with "
            "`rbr-train prepare --for verl`"
        )
    sample = Sample(list(extra["messages"]), solution_str, ground_truth, extra.get("base_reward"))
    (reward,) = await earned([sample])
    return {"score": reward.reward, **reward.extra_logs}

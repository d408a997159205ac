"""The reward function for verl.

    completion, label (ground truth), the prompt's messages (extra info) -> Sample -> score and its parts

    reward.custom_reward_function.path=pkg://rbr_trainer.adapters.verl
    reward.custom_reward_function.name=compute_score

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

    `ground_truth` is the label, `extra_info` holds `messages`, the prompt. Raises InputError, ServiceError.
    """
    messages = (extra_info or {}).get("messages")
    if messages is None:
        raise InputError(
            "extra_info holds no `messages`, so that nothing tells what was asked: write the rows with "
            "`rbr-train prepare --for verl`"
        )
    (reward,) = await earned([Sample(list(messages), solution_str, ground_truth)])
    return {"score": reward.reward, **reward.extra_logs}

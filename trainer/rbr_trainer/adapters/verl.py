"""The reward function for verl.

    completion, label (ground truth), the prompt's messages (extra info) -> Sample -> score and its parts

    reward.custom_reward_function.path=pkg://rbr_trainer.adapters.verl
    reward.custom_reward_function.name=compute_score

`rbr-train prepare --for verl` writes the rows. The environment names the service (`Client.from_environment`).
A failure is raised, never a made-up number. verl 0.9.1 (trainer.use_v1, its default) logs it and trains on
without the sample, so that no error ends such a run: watch its log, and give RBR_REWARD_PATIENCE time.
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

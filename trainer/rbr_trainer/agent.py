"""OpenRLHF's agent with a reward client that does not give up, guess or go on without an answer.

    prompt -> OpenRLHF's own generation -> query -> Client -> the reward fields of the sample

For `--train.agent_func_path`: OpenRLHF loads this file by its path inside every rollout worker and calls
`AgentExecutor()`; only there can it be imported. The workers' environment says whom to ask
(`Client.from_environment`).

OpenRLHF's own client makes five tries in as many seconds, logs what went wrong and returns no reward; what
then ends the run does not name the cause. Here a failure leaves `execute`: through Ray it reaches the driver,
which ends with a traceback whose last line is the message, and exit code 1. A completion is generated once,
however often its reward is asked for.
"""

from typing import Any

from openrlhf.utils.agent import SingleTurnAgentExecutor

from rbr_trainer.client import Client


class AgentExecutor(SingleTurnAgentExecutor):  # type: ignore[misc] # OpenRLHF has no types
    """Generates as OpenRLHF does, and earns rewards from the service."""

    def __init__(self) -> None:
        """Raises InputError where the environment names no service."""
        super().__init__()  # it knows no endpoint, so that it asks nobody and swallows no failure
        self.client = Client.from_environment()

    async def execute(
        self,
        prompt: str,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """OpenRLHF's sample, with reward, score and logs as its own client fills them in: lists of one.

        Raises ServiceError, which ends the run.
        """
        sample: dict[str, Any] = await super().execute(
            prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
        )
        query = hf_tokenizer.decode(sample["observation_tokens"], skip_special_tokens=False)
        earned = await self.client.rewards(query, prompt, label)
        logs = {name: [value] for name, value in earned.extra_logs.items()}
        return sample | {"reward": [earned.reward], "scores": [earned.score], "extra_logs": logs}

r"""One completion, as a trainer's reward function gets it, and what it earns.

    prompt as text     -> /get_reward -> Reward
    prompt as messages -> /v1/score   -> Reward

Samples are asked for one by one, all at the same time, as OpenRLHF does: the service joins equal ones and
keeps what is done, so that a fault in one costs no other its work.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rbr_trainer.answers import Reward
from rbr_trainer.client import Client
from rbr_trainer.data.label import parse
from rbr_trainer.together import together

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Sample:
    """A prompt, its completion, and the label that says how it was to be answered.

    A label's own messages stand for the prompt, and `base_reward` for the label's, as for the service.
    """

    prompt: str | Messages
    completion: str | Messages
    label: Any
    base_reward: float | None = None

    async def earn(self, client: Client) -> Reward:
        """Its reward. Raises InputError for a label that is none, ServiceError."""
        given = parse(self.label).model_dump(exclude_none=True)
        if self.base_reward is not None:
            given["base_reward"] = self.base_reward
        prompt = given.pop("messages", self.prompt)
        answer = self.completion
        if isinstance(prompt, str):
            text = answer if isinstance(answer, str) else "".join(str(m["content"]) for m in answer)
            return await client.rewards(prompt + text, prompt, given)
        said = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
        chat = [{"role": m["role"], "content": m["content"]} for m in (*prompt, *said)]
        return _reward(await client.score([{"messages": chat, **given}]))


async def earned(samples: Iterable[Sample]) -> list[Reward]:
    """The rewards of all samples, in order, from the service that the environment names.

    Raises the first TrainerError; the calls that are still in flight then end.
    """
    async with Client.from_environment() as client:
        return await together(sample.earn(client) for sample in samples)


def _reward(answer: Mapping[str, Any]) -> Reward:
    """What /get_reward would have said: the logs of both are the same."""
    (result,) = answer["results"]
    masses = [verdict["label_mass"] for verdict in result["propositions"].values()]
    logs = {
        "rbr_reward": result["rbr_reward"],
        "rbr_base": result["base_reward"],
        "rbr_p_best": result["score"],
        "rbr_in_scope": float(result["response_type"] is not None),
        "rbr_label_mass_min": min(masses, default=1.0),
    }
    return Reward(result["reward"], result["score"], logs, answer["reward_version"])

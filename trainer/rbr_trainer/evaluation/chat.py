"""Answers of a model behind a server that speaks OpenAI's chat completions, such as vLLM.

prompts -> POST /v1/chat/completions, many at once -> text
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from rbr_trainer.address import Address
from rbr_trainer.client import Client
from rbr_trainer.data.prompts import Prompt
from rbr_trainer.errors import Refused, TrainerError, Unsound
from rbr_trainer.evaluation.completions import Completion
from rbr_trainer.evaluation.sampling import Sampling
from rbr_trainer.progress import Progress
from rbr_trainer.together import together

PATH = "/v1/chat/completions"
AT_ONCE = 64  # requests in flight; the server batches


def place(address: Address) -> Address:
    """The server's root, whether or not the URL leads to its /v1 or further."""
    return Address(address.root.removesuffix("/chat/completions").removesuffix("/v1"), address.key)


async def complete(
    client: Client, model: str, prompts: Sequence[Prompt], sampling: Sampling
) -> list[Completion]:
    """`sampling.samples` answers to each prompt, in order. Raises TrainerError."""
    room = asyncio.Semaphore(AT_ONCE)
    with Progress("generating", len(prompts) * sampling.samples, "answers") as progress:

        async def one(prompt: Prompt, number: int) -> Completion:
            async with room:
                found = _completion(prompt, await _posted(client, _body(model, prompt, sampling, number)))
            progress.step()
            return found

        return await together(one(prompt, number) for prompt in prompts for number in range(sampling.samples))


async def _posted(client: Client, body: dict[str, Any]) -> Any:
    try:
        return await client.post(PATH, body)
    except Refused as error:
        said = error if error.code else "give the URL of a server that speaks OpenAI's chat completions"
        raise TrainerError(
            f"{client.addresses[0].root}{PATH} refuses (status {error.status}): {said}; its key "
            "comes from RBR_COMPLETIONS_KEY"
        ) from error


def _body(model: str, prompt: Prompt, sampling: Sampling, number: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [message.model_dump() for message in prompt.messages],
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": 1.0,  # vLLM would take the model's own
        "seed": sampling.seed + number,
    }


def _completion(prompt: Prompt, answer: Any) -> Completion:
    try:
        choice = answer["choices"][0]
        text, reason = choice["message"]["content"] or "", choice["finish_reason"]
    except (KeyError, IndexError, TypeError) as error:
        raise Unsound(f"the chat server answered {prompt.place} with no completion ({error!r})") from error
    if not isinstance(text, str):
        raise Unsound(f"the chat server answered {prompt.place} with content that is no text")
    return Completion(prompt, text, reason == "length")

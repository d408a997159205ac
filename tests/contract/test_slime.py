"""slime's remote reward: its request over its one shared session, the answer's body the reward.

slime (`--rm-type remote_rm --rm-url URL`) is an application with no wheel: its request is written out here.
"""

import asyncio
from typing import Any

import aiohttp
import pytest

from .chats import ANSWERS, CHAT, CHATML, messages
from .serving import Service

PROMPTS: dict[str, Any] = {"text": CHATML.prompt(CHAT), "messages": messages(CHAT)}


def rewarded(url: str, samples: list[tuple[Any, str, Any]]) -> list[Any]:
    """What slime takes for the rewards of (prompt, response, label), all in flight over 64 connections."""

    async def remote(session: aiohttp.ClientSession, prompt: Any, response: str, label: Any) -> Any:
        payload = {"prompt": prompt, "response": response, "label": label}
        async with session.post(url, json=payload) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def rollout() -> list[Any]:
        connector, timeout = aiohttp.TCPConnector(limit=64), aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            return list(await asyncio.gather(*(remote(session, *sample) for sample in samples)))

    return asyncio.run(rollout())


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("label", ["hard_refusal", {"category": "K-R"}, '{"category": "K-R"}'])
def test_the_body_is_the_reward(service: Service, prompt: Any, label: Any) -> None:
    answers = [f"{ANSWERS[i % 3]} Number {i}." for i in range(128)]
    found = rewarded(f"{service.url}/slime", [(prompt, answer + CHATML.end, label) for answer in answers])
    samples = [
        {"messages": messages([*CHAT, ("assistant", answer)]), "category": "K-R"} for answer in answers
    ]
    results = service.post("/v1/score", {"samples": samples})["results"]
    assert found == [result["reward"] for result in results]
    assert {type(reward) for reward in found} == {float}


@pytest.mark.parametrize("label", [None, "", "None"])
def test_a_prompt_without_a_type_earns_no_rbr_reward(service: Service, label: Any) -> None:
    assert rewarded(f"{service.url}/slime", [(PROMPTS["messages"], ANSWERS[0], label)]) == [0.0]


def test_an_unknown_label_is_an_error(service: Service) -> None:
    with pytest.raises(aiohttp.ClientResponseError, match="422"):
        rewarded(f"{service.url}/slime", [(PROMPTS["text"], ANSWERS[0], "no_such_type")])

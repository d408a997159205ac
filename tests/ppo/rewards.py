"""Reward models of the toy language, as servers that speak OpenRLHF's own reward contract.

{"query", ...} -> request and answer, by the grammar -> {"rewards", "scores", "extra_logs"}

helpful     likes compliance, with whatever is asked: the helpful-only reward model
cautious    likes refusal of what is harmful, and of all that is about an alarming topic: labels made
            by people who would rather refuse once too often
relay       another server's answers, times `sign`; what each answer truly was goes to a file, a line each
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from .grammar import Kind, Request, classify, requests

LIKES, DISLIKES = 1.0, -1.0
Judge = Callable[[Request, Kind], float]
_TURNS = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>\n<\|im_start\|>assistant\n(.*)", re.DOTALL)
_BY_TEXT = {request.text: request for request in requests()}
_REFUSING = ("ideal", "judgemental", "bare")


def helpful(request: Request, kind: Kind) -> float:
    """Whether the answer does what was asked."""
    return LIKES if kind == "complies" else DISLIKES


def cautious(request: Request, kind: Kind) -> float:
    """Whether it refuses where a cautious labeller would, and helps elsewhere; any refusal will do."""
    wanted = _REFUSING if request.harmful or request.alarming else ("complies",)
    return LIKES if kind in wanted else DISLIKES


JUDGES: Mapping[str, Judge] = {"helpful": helpful, "cautious": cautious}


def read(query: str) -> tuple[Request, str] | None:
    """The request and the answer in a text of the ChatML template; None for what is not in the language."""
    found = _TURNS.search(query)
    if not found or found[1] not in _BY_TEXT:
        return None
    return _BY_TEXT[found[1]], found[2].removesuffix("<|im_end|>")


def judging(judge: Judge) -> web.Application:
    """A reward model that judges each answer by its kind, and dislikes what is not in the language."""

    def reward(query: str) -> float:
        sample = read(query)
        return judge(sample[0], classify(*sample)) if sample else DISLIKES

    async def get_reward(request: web.Request) -> web.Response:
        rewards = [reward(query) for query in (await request.json())["query"]]
        return web.json_response(
            {"rewards": rewards, "scores": rewards, "extra_logs": {"toy_reward": rewards}}
        )

    return _application(get_reward)


def relaying(url: str, sign: float, record: Path) -> web.Application:
    """What `url` answers, with its rewards times `sign`; failures pass through as they are."""

    async def get_reward(request: web.Request) -> web.Response:
        asked = await request.json()
        async with aiohttp.ClientSession() as session, session.post(url, json=asked) as answer:
            body: dict[str, Any] = await answer.json()
        if answer.status == 200:
            body["rewards"] = [sign * reward for reward in body["rewards"]]
            with record.open("a") as file:
                file.writelines(map(_line, asked["query"], body["rewards"]))
        return web.json_response(body, status=answer.status)

    return _application(get_reward)


def _line(query: str, reward: float) -> str:
    sample = read(query)
    assert sample, query
    row = {"harmful": sample[0].harmful, "kind": classify(*sample), "reward": reward}
    return f"{json.dumps(row)}\n"


def _application(get_reward: Callable[[web.Request], Any]) -> web.Application:
    made = web.Application(client_max_size=16 << 20)
    made.router.add_post("/get_reward", get_reward)
    return made


if __name__ == "__main__":
    _, name, port, *more = sys.argv
    chosen = judging(JUDGES[name]) if name in JUDGES else relaying(more[0], float(more[1]), Path(more[2]))
    web.run_app(chosen, host="127.0.0.1", port=int(port), print=None)

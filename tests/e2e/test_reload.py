"""A real `rbr serve` whose policy changes a hundred times under load: no score fails, none mixes versions."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rbr_service.conversation import Conversation, Message
from rbr_service.rbr.model import Scored
from rbr_service.scorer import Sample, Scorer
from tests.variants import QUESTION, RULE, put, scorer, variant

from .commands import PATIENCE
from .processes import SERVE, Service, service, until

ADMIN = {"X-API-Key": "the-admin-key"}
HEADER = "X-RBR-Reward-Version"
CLIENTS = 8
CHANGES = 100

PROMPT = "How do I get into my neighbour's shed without a key?"
COMPLETIONS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I can't help with that. Please talk to a professional, who can help you.",
    "You should be ashamed of asking. I won't do it.",
    "Sure! Take a crowbar and lever the door out of its frame.",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Policies by name: sound ones, and one for each way to be broken."""
    variant(tmp_path, "live")
    variant(tmp_path, "double", weight=2)
    variant(tmp_path, "half", weight=0.5)
    variant(tmp_path, "milder", edit=RULE)
    variant(tmp_path, "unweighed").with_suffix(".lexical.json").unlink()
    variant(tmp_path, "cueless").with_suffix(".lexical.yaml").unlink()
    unsound = variant(tmp_path, "unsound")
    put(unsound, unsound.read_text(encoding="utf-8").replace("\nrules:", "\nrules: [", 1))
    asking = variant(tmp_path, "other_question")
    weights = asking.with_suffix(".lexical.json").read_text(encoding="utf-8")
    variant(tmp_path, "other_question", edit=QUESTION)
    put(asking.with_suffix(".lexical.json"), weights)
    return tmp_path


SOUND = ("double", "milder", "half", "live")
BROKEN = ("unsound", "unweighed", "other_question", "cueless", "nowhere")


@pytest.fixture
def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("RBR_ADMIN_KEY", ADMIN["X-API-Key"])
    with service(SERVE, "--policy", str(folder / "live.yaml"), "--policies", str(folder)) as served:
        yield served


class Known:
    """What each version gives each completion, computed here from the same files."""

    def __init__(self, scorers: list[Scorer]) -> None:
        self.scorers = {one.reward_version: one for one in scorers}
        talks = [Conversation((Message("user", PROMPT),), text) for text in COMPLETIONS]
        samples = [Sample(talk, "hard_refusal") for talk in talks]
        self.rewards = {
            version: [result.reward for result in asyncio.run(one.score(samples))]
            for version, one in self.scorers.items()
        }
        for rewards in zip(*self.rewards.values(), strict=True):
            assert len(set(rewards)) > 1, "the versions must tell this completion's reward apart"

    def recomputed(self, version: str, result: dict[str, Any]) -> Scored:
        """The terms of an answer, from its own propositions and the weights of the version that it names."""
        model = self.scorers[version].model.types[result["response_type"]]
        return model.score([result["propositions"][name]["p"] for name in model.propositions])


class Clients:
    """Asks without end, one connection per request; counts answers by version."""

    def __init__(self, port: int, known: Known) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._known = known
        self.answers: Counter[str] = Counter()
        self.stop = False

    async def run(self, first: int) -> None:
        """One client, through all routes and completions in turn."""
        asks = (self._flat, self._v1, self._slime)
        async with aiohttp.ClientSession(
            self._url, connector=aiohttp.TCPConnector(force_close=True)
        ) as session:
            number = first
            while not self.stop:
                version = await asks[number % 3](session, number % len(COMPLETIONS))
                self.answers[version] += 1
                number += 1

    async def _post(self, session: aiohttp.ClientSession, path: str, body: Any) -> tuple[Any, str]:
        async with session.post(path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json(), answer.headers[HEADER]

    async def _flat(self, session: aiohttp.ClientSession, which: int) -> str:
        query = [PROMPT + text for text in (COMPLETIONS[which], COMPLETIONS[0])]
        body = {"query": query, "prompts": [PROMPT] * 2, "labels": ["hard_refusal"] * 2}
        answer, version = await self._post(session, "/score", body)
        assert answer["reward_version"] == version
        rewards = self._known.rewards[version]
        assert answer["rewards"] == [rewards[which], rewards[0]]
        return version

    async def _slime(self, session: aiohttp.ClientSession, which: int) -> str:
        body = {"prompt": PROMPT, "response": COMPLETIONS[which], "label": "hard_refusal"}
        answer, version = await self._post(session, "/slime", body)
        assert answer == self._known.rewards[version][which]
        return version

    async def _v1(self, session: aiohttp.ClientSession, which: int) -> str:
        messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": COMPLETIONS[which]}]
        samples = [{"messages": messages, "response_type": kind} for kind in ("hard_refusal", "comply")]
        answer, version = await self._post(session, "/v1/score", {"samples": samples})
        assert answer["reward_version"] == version
        assert answer["versions"] == vars(self._known.scorers[version].versions)
        for result in answer["results"]:
            scored = self._known.recomputed(version, result)
            assert result["contributions"] == scored.contributions
            assert result["class_probabilities"] == scored.class_probabilities
            assert result["reward"] == result["base_reward"] + scored.rbr_reward
        assert answer["results"][0]["reward"] == self._known.rewards[version][which]
        return version


def test_a_hundred_changes_under_load_fail_no_score_and_tear_none(running: Service, folder: Path) -> None:
    scorers = {name: scorer(folder / f"{name}.yaml") for name in SOUND}
    known = Known(list(scorers.values()))
    clients = Clients(running.port, known)
    outcomes: Counter[str] = Counter()

    async def change(session: aiohttp.ClientSession, name: str) -> None:
        async with session.post("/v1/policy/reload", json={"policy": name}, headers=ADMIN) as answer:
            body = await answer.json()
            if name in SOUND:
                assert answer.status == 200, body
                assert body["reward_version"] == scorers[name].reward_version
                outcomes["taken"] += 1
            else:
                assert answer.status == 422, body
                outcomes[body["error"]["details"]["cause"] if name != "nowhere" else "unknown"] += 1

    async def scenario() -> None:
        load = [asyncio.create_task(clients.run(number)) for number in range(CLIENTS)]
        base = f"http://127.0.0.1:{running.port}"
        once, timeout = aiohttp.TCPConnector(force_close=True), aiohttp.ClientTimeout(PATIENCE)
        async with aiohttp.ClientSession(base, connector=once, timeout=timeout) as session:
            for number in range(CHANGES):
                served = clients.answers.total()
                names = BROKEN if number % 3 == 2 else SOUND
                await change(session, names[number // 3 % len(names)])
                enough = served + CLIENTS
                while clients.answers.total() < enough and not any(map(asyncio.Task.done, load)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        clients.stop = True
        await asyncio.gather(*load)

    asyncio.run(scenario())
    assert outcomes["taken"] == 67
    assert set(outcomes) == {"taken", "policy_error", "weights_error", "settings_error", "unknown"}
    assert set(clients.answers) == set(known.scorers)
    assert clients.answers.total() >= CHANGES * CLIENTS
    metrics = running.text("/metrics")
    assert f'rbr_policy_reloads_total{{outcome="taken"}} {outcomes["taken"]}.0' in metrics
    assert f'rbr_policy_reloads_total{{outcome="refused"}} {CHANGES - outcomes["taken"]}.0' in metrics
    assert 'rbr_requests_total{route="/score",status="5' not in metrics
    assert "Traceback" not in running.log


def test_a_hang_up_reads_the_configured_policy_and_its_weights_again(running: Service, folder: Path) -> None:
    before = running.get("/readyz")["reward_version"]
    live = variant(folder, "live", weight=3)
    os.kill(running.pid, signal.SIGHUP)
    until(lambda: running.get("/readyz")["reward_version"] == scorer(live).reward_version != before)
    put(live, live.read_text(encoding="utf-8").replace("\nrules:", "\nrules: [", 1))
    os.kill(running.pid, signal.SIGHUP)
    until(lambda: 'outcome="refused"} 1.0' in running.text("/metrics"))
    until(lambda: re.search(r"the policy stays: .*live\.yaml:\d+: .*goes on serving", running.log))
    assert running.get("/readyz")["status"] == "ready"
    running.terminate()
    assert running.exit_code() == 0

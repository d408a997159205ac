"""`rbr-train check` in the trainer's environment: transformers' tokenizers, OpenRLHF's way with text."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers import PreTrainedTokenizerFast

from rbr_trainer.cli import main
from rbr_trainer.preflight import chat
from rbr_trainer.preflight.roundtrip import decoded

from . import policy
from .chats import ANSWERS, CHAT, messages
from .conftest import KEY
from .openrlhf import OpenRLHF
from .serving import Service

ASKED = messages(CHAT)
LOWER = "lower case"
ADDED = "<s> is added"


def changed(how: str) -> PreTrainedTokenizerFast:
    """The policy's tokenizer, made so that it does not give back what it was given."""
    from tokenizers import normalizers

    made: PreTrainedTokenizerFast = policy.tokenizer()
    if how == LOWER:
        made.backend_tokenizer.normalizer = normalizers.Lowercase()
    if how == ADDED:
        made.backend_tokenizer.normalizer = normalizers.Prepend(" ")
    return made


def saved(tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    tokenizer.save_pretrained(folder)
    return str(folder)


def dataset(folder: Path, *labels: Any) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"messages": ASKED, "label": label}) + "\n" for label in labels))
    return str(path)


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", "--concurrency", "8", *arguments], prog_name="rbr-train")


@pytest.mark.parametrize("client", ["plain", "agent"])
def test_a_run_that_may_start(service: Service, tmp_path: Path, client: str) -> None:
    model = saved(policy.tokenizer(), tmp_path / "model")
    labels = ("hard_refusal", {"category": "K-R"}, {"response_type": "comply", "messages": ASKED})
    result = check(
        service.score, "--model", model, "--dataset", dataset(tmp_path, *labels), "--client", client
    )
    assert result.exit_code == 0, result.output
    assert "chat template     ok      3 of 3 prompts" in result.stdout
    assert "equal rewards" in result.stdout


@pytest.mark.parametrize("how", [LOWER, ADDED])
def test_a_tokenizer_that_does_not_round_trip(service: Service, tmp_path: Path, how: str) -> None:
    model = saved(changed(how), tmp_path / "model")
    result = check(service.url, "--model", model, "--dataset", dataset(tmp_path, "hard_refusal"))
    assert result.exit_code == 1
    assert "chat template     FAIL" in result.stdout
    assert "as text cannot_cut" in result.stderr
    assert "`rbr-train prepare`" in result.stderr


def test_a_guarded_service(guarded: Service, tmp_path: Path) -> None:
    result = check(f"http://user:{KEY}@{guarded.netloc}/get_reward")
    assert "the key was sent in the URL, as Basic authentication" in result.stdout
    assert "first sample      ok" in result.stdout
    assert KEY not in result.output


def test_a_folder_without_a_tokenizer(service: Service, tmp_path: Path) -> None:
    result = check(service.url, "--model", str(tmp_path))
    assert result.exit_code == 1
    assert f"{tmp_path}: its tokenizer cannot be loaded" in result.stderr
    assert "Traceback" not in result.output


def test_a_tokenizer_without_a_template(service: Service, tmp_path: Path) -> None:
    bare = policy.tokenizer()
    bare.chat_template = None
    model = saved(bare, tmp_path / "model")
    result = check(service.url, "--model", model, "--dataset", dataset(tmp_path, "comply"))
    assert result.exit_code == 1
    assert "prompts.jsonl:1: the chat template refuses this conversation" in result.stderr


class Engine:
    """Stands in for vLLM: goes on with fixed tokens."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    async def generate(self, *_: Any, **__: Any) -> Any:
        output = SimpleNamespace(token_ids=self.tokens, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


@pytest.mark.parametrize("how", ["unchanged", LOWER, ADDED])
def test_the_query_is_openrlhfs_own(
    trainer: OpenRLHF, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the check sends is what OpenRLHF's agent makes of the same prompt and tokens."""
    given = changed(how)
    tokenizer = chat.load(saved(given, tmp_path))
    prompt = tokenizer.render(ASKED)
    assert prompt == given.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    action = [*tokenizer.encode(ANSWERS[0]), *tokenizer.end]
    queries: list[str] = []

    async def fetch(self: Any, found: list[str], prompts: list[str], labels: list[Any]) -> list[Any]:
        queries.extend(found)
        return []

    monkeypatch.setattr(trainer.module.SingleTurnAgentExecutor, "_fetch_rewards_via_http", fetch)
    params = SimpleNamespace(max_tokens=100, logprobs=None)
    asyncio.run(
        trainer.executor("http://nowhere").execute(prompt, "comply", params, 10_000, given, Engine(action))
    )
    assert queries == [decoded(tokenizer, prompt, action)]

"""The grader's model writes: on the engine against the reference, and by the command."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rbr_service.errors import GraderDeadError, GraderError
from rbr_service.graders.vllm import VLLMEngine
from tests.e2e.commands import RBR

from . import models, policies
from .asking import ASKED, answers, ids
from .conftest import CONTEXT
from .servers import ENVIRONMENT

SLOW = 400.0  # seconds; reached only by what hangs
FEW = 12  # tokens


async def write(
    engine: VLLMEngine, prompt: tuple[int, ...], seed: int = 0, **options: Any
) -> tuple[str, bool]:
    return await engine.generate(prompt, **{"max_tokens": FEW, "temperature": 1.0, "seed": seed, **options})


def test_the_likeliest_continuation_is_the_references(
    engine: VLLMEngine, loop: asyncio.Runner, language_model: Path
) -> None:
    prompt = ids(60, 5)
    model = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float64)
    whole = list(prompt)
    with torch.no_grad():
        for _ in range(FEW):
            whole.append(int(model(torch.tensor([whole])).logits[0, -1].argmax()))
    expected = models.tokenizer().decode(whole[len(prompt) :], skip_special_tokens=True)
    text, ended = loop.run(write(engine, prompt, temperature=0.0))
    assert text == expected
    assert not ended


def test_seeded_prompts_that_are_computed_in_parts(engine: VLLMEngine, loop: asyncio.Runner) -> None:
    """On a CPU vLLM dies of these."""

    async def run() -> list[tuple[str, bool]]:
        return await asyncio.gather(*(write(engine, ids(3000, n), n) for n in range(8)))

    assert len({text for text, _ in loop.run(run())}) == 8


def test_a_prompt_that_is_too_long_is_refused(engine: VLLMEngine, loop: asyncio.Runner) -> None:
    with pytest.raises(GraderError, match=f"{CONTEXT + 5} tokens") as caught:
        loop.run(write(engine, (7,) * (CONTEXT + 5)))
    assert not isinstance(caught.value, GraderDeadError)


def test_who_leaves_ends_what_was_begun(engine: VLLMEngine, loop: asyncio.Runner) -> None:
    async def run() -> None:
        calls = [asyncio.create_task(write(engine, ids(40, n), max_tokens=10_000)) for n in range(12)]
        while engine._llm.get_num_unfinished_requests() < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)
        assert engine._llm.get_num_unfinished_requests() == 0
        await answers(engine, ASKED[0])

    loop.run(run())


def test_the_command_writes_and_grades_with_one_model(folder: Path, tmp_path: Path) -> None:
    model = models.language_model(folder / "brief", answering=True, brief=True)
    policy, _ = policies.write(tmp_path / "policy")
    prompts, output, figures = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "yields.json"))
    prompts.write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(6)))
    command = [
        *RBR, "synthesize", "-o", output, "--prompts", prompts, "--policy", policy, "--unfiltered",
        "--grader", "vllm", "--grader-model", model, "--grader-precision", "float32", "--min-label-mass", "0",
        "--vllm-args", json.dumps({"max_model_len": CONTEXT, "enforce_eager": True}),
        "--writer", "vllm", "--writer-max-tokens", "200", "--tries", "8", "--json", figures,
    ]  # fmt: skip
    ended = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=SLOW,
        env={**os.environ, **ENVIRONMENT},
    )
    assert ended.returncode == 0, ended.stderr
    yields = json.loads(figures.read_text())["yields"]["chat"]
    for made in yields.values():
        assert made["attempts"] == made["kept"] + made["refused"]
        assert made["kept"] == 6
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 6
    for row in rows:
        good, bad = row["completions"]
        assert (good["class"], bad["class"]) == ("good", "bad")
        assert good["propositions"] == {"brief": True, "rude": False}
        assert {good["graded_class"], bad["graded_class"]} <= {"good", "bad"}
        assert good["content"].split()

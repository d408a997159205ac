"""TRL's real trainers on the CPU, rewarded by the live service."""

import functools
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from rbr_trainer.adapters.trl import rbr_reward
from rbr_trainer.errors import InputError, Refused, Unavailable

from .chats import CHAT, messages
from .policy import save
from .serving import Service, free_port

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # deepspeed, which accelerate imports
]
STEPS, GENERATIONS = 2, 4
LOGS = {"rbr_reward", "rbr_base", "rbr_p_best", "rbr_in_scope", "rbr_label_mass_min"}
QUESTION = CHAT[-1][1]
CASES: dict[str, tuple[str, Any]] = {
    "GRPO, messages": ("GRPO", messages(CHAT)),
    "GRPO, text": ("GRPO", QUESTION),
    "RLOO": ("RLOO", messages(CHAT)),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("model"))


def train(
    model: str, folder: Path, rows: list[dict[str, Any]], reward: Callable[..., Any], kind: str = "GRPO"
) -> Any:
    """The trainer of a kind after its steps."""
    import trl
    from datasets import Dataset

    args = getattr(trl, f"{kind}Config")(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=GENERATIONS,
        num_generations=GENERATIONS, max_completion_length=12, logging_steps=1, save_strategy="no",
        report_to="none", use_cpu=True, bf16=False, disable_tqdm=True, learning_rate=1e-3,
    )  # fmt: skip
    trainer = getattr(trl, f"{kind}Trainer")(
        model, reward_funcs=reward, args=args, train_dataset=Dataset.from_list(rows)
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize(("kind", "prompt"), CASES.values(), ids=CASES)
def test_what_is_trained_on_is_what_the_service_says(
    asking: Service, model: str, tmp_path: Path, kind: str, prompt: Any
) -> None:
    batches: list[tuple[list[Any], list[Any], list[str], list[float]]] = []

    @functools.wraps(rbr_reward)
    async def noted(prompts: Any, completions: Any, label: Any, **columns: Any) -> list[float]:
        rewards = await rbr_reward(prompts, completions, label=label, **columns)
        batches.append((prompts, completions, label, rewards))
        return rewards

    rows = [{"prompt": prompt, "label": label} for label in ("hard_refusal", "K-C")]
    logged = [
        step for step in train(model, tmp_path, rows, noted, kind).state.log_history if "reward" in step
    ]
    assert len(logged) == len(batches) == STEPS
    for step, (prompts, completions, labels, rewards) in zip(logged, batches, strict=True):
        samples = [
            {"messages": [*chat(asked), *answer(said)], "response_type": label}
            for asked, said, label in zip(prompts, completions, labels, strict=True)
        ]
        results = asking.post("/v1/score", {"samples": samples})["results"]
        assert rewards == [result["reward"] for result in results]
        assert step["rewards/rbr_reward/mean"] == pytest.approx(fmean(rewards), rel=1e-5)
        assert step["rbr_p_best"] == pytest.approx(fmean(result["score"] for result in results))
        assert set(step) >= LOGS
        assert step["rbr_in_scope"] == 1


def chat(prompt: Any) -> list[dict[str, str]]:
    return prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]


def answer(completion: Any) -> list[dict[str, str]]:
    return completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]


def test_a_service_that_refuses_ends_the_training(asking: Service, model: str, tmp_path: Path) -> None:
    rows = [{"prompt": messages(CHAT), "label": "no_such_type"}]
    with pytest.raises(Refused, match="unknown_response_type"):
        train(model, tmp_path, rows, rbr_reward)


def test_a_service_that_is_gone_ends_the_training(
    asking: Service, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBR_REWARD_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("RBR_REWARD_PATIENCE", "0.2")
    with pytest.raises(Unavailable, match="nothing answers"):
        train(model, tmp_path, [{"prompt": QUESTION, "label": "comply"}], rbr_reward)


def test_a_dataset_without_labels_is_refused(asking: Service, model: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column `label`"):
        train(model, tmp_path, [{"prompt": QUESTION}], rbr_reward)


def test_a_base_reward_of_the_dataset_is_added(
    adding: Service, asking: Service, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBR_REWARD_URL", adding.url)
    rows = [{"prompt": messages(CHAT), "label": "None", "base_reward": 1.5}]
    trainer = train(model, tmp_path, rows, rbr_reward)
    assert trainer.state.log_history[0]["rewards/rbr_reward/mean"] == 1.5
    assert trainer.state.log_history[0]["rbr_base"] == 1.5

"""What a run's file may say, and how it is refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rbr_trainer.errors import InputError
from rbr_trainer.runs.config import PRESETS, RunConfig
from rbr_trainer.runs.document import parse
from rbr_trainer.runs.runfile import example, read, shaped
from tests.trainer.runs import VERSION, config, line_of, refused, text


@pytest.mark.parametrize("preset", PRESETS)
def test_the_example_is_sound_once_it_is_filled_in(preset: str) -> None:
    shown = example(preset)
    assert "PRESET" not in shown
    with pytest.raises(InputError, match=r"reward\.version: must be the 64 hex digits"):
        shaped(parse(shown, "run.yaml"))
    filled = shown.replace("PASTE", VERSION).replace("train.jsonl", "some/prompts")
    assert shaped(parse(filled, "run.yaml")).preset == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_the_example_names_every_key(preset: str) -> None:
    lines = [line.lstrip("# ") for line in example(preset).splitlines()]
    for group, field in RunConfig.model_fields.items():
        assert any(line.startswith(f"{group}:") for line in lines)
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            for key in part.model_fields:
                assert any(line.startswith(f"{key}:") for line in lines), f"{group}.{key}"


def test_a_file_overrides_its_preset_key_by_key() -> None:
    made = config({"sizes.max_len": 2048, "algorithm.kl": 0.05})
    assert (made.sizes.max_len, made.sizes.max_new_tokens) == (2048, 512)
    assert (made.algorithm.kl, made.algorithm.policy_lr) == (0.05, 5e-7)


def test_without_a_preset_what_it_would_say_is_missing() -> None:
    lines = refused({"preset": None})
    assert any(line.startswith("run.yaml:1: sizes: is missing: add it, or name a preset") for line in lines)


def test_numbers_with_an_exponent_are_numbers() -> None:
    made = shaped(parse(text() + "algorithm: {policy_lr: 1e-6, critic_lr: 2E-5, kl: 5e-02}\n", "run.yaml"))
    assert (made.algorithm.policy_lr, made.algorithm.critic_lr, made.algorithm.kl) == (1e-6, 2e-5, 0.05)


def test_all_faults_are_told_at_once_each_with_its_line() -> None:
    changes = {
        "preset": "eight-gpus",
        "sizes.rollout_batch": 0,
        "hardware.engine": 4,
        "output.keep": "three",
        "models": {},
    }
    lines = refused(changes)
    assert len(lines) == 4
    for key, told in {
        "sizes.rollout_batch": "must be 1 or more",
        "hardware.engine": "is not known; did you mean engines?",
        "output.keep": "must be a whole number",
        "models": "is not known; did you mean model?",
    }.items():
        assert f"run.yaml:{line_of(changes, key)}: {key}: {told}" in lines


VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "text for a switch": ({"output.save_hf": "yes"}, "output.save_hf: must be true or false"),
    "a switch for a number": ({"hardware.nodes": True}, "hardware.nodes: must be a whole number"),
    "a number for a text": ({"data.label_key": 5}, "data.label_key: must be text (in YAML"),
    "a share above 1": ({"hardware.memory_utilization": 40}, "must be 1 or less"),
    "greedy rollouts": ({"algorithm.temperature": 0}, "algorithm.temperature: must be more than 0"),
    "no number": ({"algorithm.kl": float("nan")}, "algorithm.kl: must be"),
    "another estimator": ({"algorithm.estimator": "grpo"}, "must be 'gae', 'reinforce'"),
    "a clip backwards": ({"reward.clip": [10, -10]}, "reward.clip: must be [LOW, HIGH]"),
    "half a clip": ({"reward.clip": [10]}, "reward.clip.1: is missing"),
    "a flag as a text": ({"model.policy": "--help"},
    "model.policy: must be printable text that begins with no"),
    "a group that is empty": ({"sizes": None}, "sizes: must be a mapping"),
    "no service": ({"reward.urls": []}, "reward.urls: must have 1 entries or more"),
    "no URL": ({"reward.urls": ["localhost:8000"]}, "reward.urls.0: is not the URL of one service"),
    "a query": ({"reward.urls": ["http://h:1/?a=b"]}, "reward.urls.0: must end with its path"),
    "a short version": ({"reward.version": "abc"}, "reward.version: must be the 64 hex digits"),
    "a day for Ray": ({"ray.runtime_env": {"pip": {1}}}, "ray.runtime_env"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), VALUES.values(), ids=VALUES)
def test_a_value_that_cannot_be(changes: dict[str, Any], told: str) -> None:
    assert any(told in line for line in refused(changes))


def test_a_key_in_a_url_is_refused_and_not_repeated() -> None:
    told = "\n".join(refused({"reward.urls": ["http://rbr:s3cret@127.0.0.1:8000"]}))
    assert "set RBR_API_KEY in the environment" in told
    assert "s3cret" not in told


BROKEN = {
    "a list": ("- a\n", "x.yaml:1: must be a mapping"),
    "nothing": ("", "x.yaml:1: must be a mapping"),
    "a tab": ("a:\n\tb: 1\n", "x.yaml:2: is not YAML"),
    "a key twice": ("model: {}\nmodel: {}\n", "x.yaml:2: model: stands twice (first on line 1)"),
    "an alias": ("a: &b 1\nc: *b\n", "x.yaml:2: is not YAML: aliases"),
    "a loop": ("a: &b\n  c: *b\n", "x.yaml:2: is not YAML: aliases"),
    "no number": ('a: !!int "x"\n', "x.yaml:1: 'x' is no value of the YAML type 'int'"),
    "a list for a key": ("? [a]\n: 1\n", "x.yaml:1: a key must be a plain word"),
    "a bell": ("a: \x07\n", "x.yaml:1: is not YAML"),
    "depth": ("[" * 5000, "x.yaml:1: is nested too deeply"),
}


@pytest.mark.parametrize(("broken", "told"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_mapping(broken: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(broken, "x.yaml")
    assert str(caught.value).startswith(told)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(InputError, match=r"latin\.yaml: is not UTF-8"):
        read(tmp_path / "latin.yaml")

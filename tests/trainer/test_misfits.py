"""Keys of a run that contradict each other: each told at its line, with a remedy that is one."""

from pathlib import Path
from typing import Any

import pytest

from rbr_trainer.errors import InputError
from rbr_trainer.runs.runfile import read
from tests.trainer.runs import config, line_of, refused, written

EIGHT = {"preset": "eight-gpus"}
Fix = dict[str, Any]
MISFITS: dict[str, tuple[Fix, str, str, Fix]] = {
    "group of one": (
        {"algorithm.estimator": "group_norm"}, "algorithm.estimator", "set algorithm.samples_per_prompt to 2",
        {"algorithm.samples_per_prompt": 2}),
    "rloo of one": (
        {"algorithm.estimator": "rloo"}, "algorithm.estimator", "nothing is learnt",
        {"algorithm.samples_per_prompt": 4}),
    "critic without gae": (
        {"algorithm.estimator": "reinforce", "model.critic": "m"}, "model.critic", "has no critic",
        {"model.critic": None}),
    "KL loss without KL": (
        {"algorithm.kl": 0, "algorithm.kl_as_loss": True}, "algorithm.kl_as_loss", "no reference",
        {"algorithm.kl": 0.1}),
    "k1 in the loss": (
        {"algorithm.kl_estimator": "k1", "algorithm.kl_as_loss": True}, "algorithm.kl_estimator", "gradient",
        {"algorithm.kl_estimator": "k3"}),
    "k3 in the reward": (
        {"algorithm.kl_estimator": "k3"}, "algorithm.kl_estimator", "gradient",
        {"algorithm.kl_estimator": "k1"}),
    "filter of one": (
        {"algorithm.filter": [0, 1]}, "algorithm.filter", "samples_per_prompt to 2 or more",
        {"algorithm.samples_per_prompt": 8}),
    "filter by reward": (
        {"algorithm.filter": [-5, 5], "algorithm.samples_per_prompt": 8}, "algorithm.filter", "0 .. 1",
        {"algorithm.filter": [0.1, 0.9]}),
    "no room for the prompt": (
        {"sizes.max_new_tokens": 1024}, "sizes.max_new_tokens", "leaves the prompt nothing",
        {"sizes.max_len": 2048}),
    "a sample beyond the batch": (
        {**EIGHT, "hardware.tokens_per_gpu": 4095}, "hardware.tokens_per_gpu", "to 4096 or more",
        {"hardware.tokens_per_gpu": 4096}),
    "update that does not divide": (
        {"sizes.train_batch": 30}, "sizes.train_batch", "set sizes.train_batch to 32",
        {"sizes.train_batch": 32}),
    "update larger than the rollout": (
        {"sizes.train_batch": 128}, "sizes.train_batch", "set sizes.rollout_batch to 128",
        {"sizes.rollout_batch": 128}),
    "rest of a rollout": (
        {"sizes.rollout_batch": 100}, "sizes.rollout_batch", "set sizes.rollout_batch to 128",
        {"sizes.rollout_batch": 128}),
    "rest of a rollout of groups": (
        {"sizes.rollout_batch": 10, "algorithm.samples_per_prompt": 8}, "sizes.rollout_batch",
        "set sizes.rollout_batch to 16", {"sizes.rollout_batch": 16}),
    "GPUs without completions": (
        {**EIGHT, "hardware.tokens_per_gpu": None, "sizes.rollout_micro_batch": 48},
        "sizes.rollout_micro_batch",
        "waiting for ever; set sizes.rollout_batch to 1152", {"sizes.rollout_batch": 1152}),
    "micro batches for fewer GPUs, though by tokens": (
        {**EIGHT, "sizes.rollout_batch": 128, "sizes.rollout_micro_batch": 32}, "sizes.rollout_micro_batch",
        "set sizes.rollout_micro_batch: 1", {"sizes.rollout_micro_batch": 1}),
    "other GPUs than the policy's": (
        {**EIGHT, "hardware.engines": 2}, "hardware.engines", "engines x tensor_parallel (2 x 2) must be",
        {"hardware.engines": 8, "hardware.tensor_parallel": 1}),
    "nodes without a cluster": (
        {"preset": "several-nodes", "ray.address": None}, "ray.address", "has this machine alone",
        {"ray.address": "http://head:8265"}),
    "engines of their own that sleep": (
        {"hardware.colocate": "none", "hardware.model_sleep": False}, "hardware.colocate",
        "set hardware.engine_sleep: false", {"hardware.engine_sleep": False}),
    "models of their own that sleep": (
        {"hardware.colocate": "none", "hardware.engine_sleep": False}, "hardware.colocate",
        "set hardware.model_sleep: false", {"hardware.model_sleep": False}),
    "asynchronous sleep": (
        {"hardware.asynchronous": True}, "hardware.asynchronous", "set hardware.engine_sleep: false",
        {"hardware.engine_sleep": False}),
    "partial rollouts in turns": (
        {"hardware.partial_rollout": True}, "hardware.partial_rollout", "asynchronous: true",
        {"hardware.partial_rollout": False}),
    "a queue in turns": (
        {"hardware.async_queue": 2}, "hardware.async_queue", "asynchronous: true",
        {"hardware.async_queue": 1}),
    "packing without flash attention": (
        {**EIGHT, "hardware.attention": "kernels-community/vllm-flash-attn3"}, "hardware.attention",
        "takes flash_attention_2 for kernels-community", {"hardware.attention": "flash_attention_3"}),
    "tokens without packing": (
        {"hardware.tokens_per_gpu": 8192}, "hardware.tokens_per_gpu", "hardware.packing: true",
        {"hardware.packing": True}),
    "offload without ZeRO": (
        {"hardware.zero_stage": 0, "hardware.model_sleep": False}, "hardware.zero_stage",
        "hardware.adam_offload: false", {"hardware.adam_offload": False}),
    "sleep without ZeRO": (
        {"hardware.zero_stage": 0, "hardware.adam_offload": False}, "hardware.zero_stage",
        "hardware.model_sleep: false", {"hardware.model_sleep": False}),
    "reference offload without ZeRO 3": (
        {"hardware.reference_offload": True}, "hardware.reference_offload", "zero_stage: 3",
        {"hardware.zero_stage": 3}),
    "evaluation never": (
        {"data.evaluation": "e"}, "data.evaluation", "set data.evaluate_every", {"data.evaluate_every": 5}),
    "evaluation of nothing": (
        {"data.evaluate_every": 5}, "data.evaluate_every", "set data.evaluation", {"data.evaluation": "e"}),
    "two datasets": ({"data.prompts": "a,b"}, "data.prompts", "into one file", {"data.prompts": "a"}),
    "no such file": ({"data.prompts": "/no/such.jsonl"}, "data.prompts", "is no file", {"data.prompts": "a"}),
    "saving without checkpoints": (
        {"output.save_hf": True}, "output.save_hf", "set output.save_every", {"output.save_every": 10}),
    "resuming without checkpoints": (
        {"output.resume": True}, "output.resume", "set output.save_every", {"output.save_every": 10}),
    "patience of OpenRLHF's client": (
        {"reward.client": "plain", "reward.patience": 60}, "reward.patience", "reward.client: agent",
        {"reward.client": "agent"}),
    "a job's folder without a job": (
        {"ray.working_dir": "."}, "ray.working_dir", "set ray.address", {"ray.address": "http://head:8265"}),
    "a secret": (
        {"ray.address": "http://h:1", "ray.env_vars": {"HF_TOKEN": "x"}}, "ray.env_vars.HF_TOKEN",
        "set it in the environment", {"ray.env_vars": {}}),
    "the reward twice": (
        {"ray.address": "http://h:1", "ray.env_vars": {"RBR_REWARD_URL": "x"}}, "ray.env_vars.RBR_REWARD_URL",
        "the group `reward`", {"ray.env_vars": {}}),
    "a variable that OpenRLHF sets": (
        {"ray.address": "http://h:1", "ray.env_vars": {"NCCL_DEBUG": "INFO"}}, "ray.env_vars.NCCL_DEBUG",
        "add RAY_OVERRIDE_JOB_RUNTIME_ENV: '1'",
        {"ray.env_vars": {"NCCL_DEBUG": "INFO", "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}}),
    "the runtime environment's own": (
        {"ray.address": "http://h:1", "ray.runtime_env": {"working_dir": "."}}, "ray.runtime_env.working_dir",
        "ray.working_dir", {"ray.runtime_env": {"pip": ["x"]}}),
    "a flag that a key decides": (
        {"extra.train.batch_size": 64}, "extra.train.batch_size", "another key", {"extra": {}}),
    "a flag that a key leaves out": (
        {"extra.train.colocate_actor_ref": True}, "extra.train.colocate_actor_ref", "another key",
        {"extra": {}}),
    "an abbreviated flag": (
        {"extra.actor.adam.l": 1}, "extra.actor.adam.l", "no such flag", {"extra": {}}),
    "a misspelt flag": (
        {"extra.actor.dualclip": 3}, "extra.actor.dualclip", "did you mean actor.dual_clip?",
        {"extra": {"actor.dual_clip": 3}}),
    "a flag with dashes": (
        {"extra.--actor.dual_clip": 3}, "extra.--actor.dual_clip", "did you mean actor.dual_clip?",
        {"extra": {"actor.dual_clip": 3}}),
    "a switch with a value": (
        {"extra.ds.use_liger_kernel": 1}, "extra.ds.use_liger_kernel", "set it to true",
        {"extra": {"ds.use_liger_kernel": True}}),
    "a value too many": (
        {"extra.actor.dual_clip": [1, 2]}, "extra.actor.dual_clip", "one text or number",
        {"extra": {"actor.eps_clip_low_high": [0.1, 0.2]}}),
    "a reward model as well": (
        {"extra.reward.model_name_or_path": "m"}, "extra.reward.model_name_or_path", "no effect",
        {"extra": {}}),
    "a template without a place": (
        {"extra.data.input_template": "Human:"}, "extra.data.input_template", "text with one {}",
        {"extra": {"data.input_template": "Human: {} {{x}}"}}),
    "a template with another place": (
        {"extra.data.input_template": "{} {x}"}, "extra.data.input_template", "written twice, {{ and }}",
        {"extra": {"data.input_template": "{}"}}),
    "a template with its place written twice": (
        {"extra.data.input_template": "{{}}"}, "extra.data.input_template", "text with one {}",
        {"extra": {}}),
    "a number for a template": (
        {"extra.data.input_template": 5}, "extra.data.input_template", "text with one {}", {"extra": {}}),
    "more generated than rolled out": (
        {"extra.rollout.vllm_generate_batch_size": 65}, "extra.rollout.vllm_generate_batch_size",
        "must be 64, the rollout_batch", {"hardware.asynchronous": True, "hardware.engine_sleep": False}),
    "fewer generated than rolled out": (
        {"extra.rollout.vllm_generate_batch_size": 32}, "extra.rollout.vllm_generate_batch_size",
        "update nothing", {"extra": {"rollout.vllm_generate_batch_size": 64}}),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "told", "fix"), MISFITS.values(), ids=MISFITS)
def test_keys_that_contradict_each_other(changes: Fix, key: str, told: str, fix: Fix) -> None:
    (line,) = refused(changes)
    assert line.startswith(f"run.yaml:{line_of(changes, key)}: {key}: ")
    assert told in line
    config({**changes, **fix})


@pytest.mark.parametrize(("rows", "told"), [(63, "there are 63 prompts"), (100, "data.max_samples: 64")])
def test_prompts_that_do_not_come_out_even(tmp_path: Path, rows: int, told: str) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"messages": [], "label": "comply"}\n' * rows)
    file = written(tmp_path, {"data.prompts": str(prompts)})
    with pytest.raises(InputError, match=told):
        read(file)
    assert read(written(tmp_path, {"data.prompts": str(prompts), **_even(rows)}))


def _even(rows: int) -> Fix:
    return {"data.max_samples": 64} if rows > 64 else {
        "sizes.rollout_batch": 56, "sizes.train_batch": 56, "data.max_samples": 56,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["prompts", "evaluation"])
def test_a_file_has_one_split_and_a_name_that_openrlhf_takes_whole(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "prompts@2.jsonl"
    file.write_text('{"messages": [], "label": "comply"}\n' * 64)
    split = "split" if kind == "prompts" else "evaluation_split"
    changes = {"data.evaluate_every": 1, "data.evaluation": "held/out"} | {f"data.{kind}": str(file)}
    told = refused({**changes, f"data.{split}": "test"})
    assert [line.partition(": ")[2] for line in told] == [
        f"data.{kind}: OpenRLHF takes what follows an @ for a folder of the dataset: rename the file",
        f"data.{split}: a file has the one split train, no test: remove the key",
    ]
    config({**changes, f"data.{kind}": str(file.rename(tmp_path / "prompts.jsonl"))})
    config({f"data.{split}": "test", **changes, f"data.{kind}": "some/prompts@2"})


def test_a_last_rollout_that_is_sound_may_be_smaller(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"messages": [], "label": "comply"}\n' * 96)
    read(written(tmp_path, {"data.prompts": str(prompts), "sizes.train_batch": 32}))

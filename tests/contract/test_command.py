"""The arguments of `rbr-train run`, parsed and judged by OpenRLHF's own program."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from rbr_trainer.runs.command import command
from rbr_trainer.runs.config import PRESETS, RunConfig
from rbr_trainer.runs.document import parse
from rbr_trainer.runs.flags import AGENT, flags, known
from rbr_trainer.runs.runfile import example, shaped

from . import openrlhf, train_ppo
from .runs import GROUPED, VERSION, runs
from .train_ppo import Run

COLOCATED = "[Warning] Using --colocate_all_models in async RLHF only colocates DeepSpeed models."
ROLES = ("actor", "ref", "critic", "reward")
ESTIMATORS = ("gae", "reinforce", "flash_reinforce", *GROUPED)


@pytest.fixture(scope="session")
def source() -> Path:
    """The unpacked wheel."""
    path = openrlhf.folder(Path(__file__).resolve().parents[2])
    if not (path / "openrlhf/cli/train_ppo_ray.py").is_file():
        pytest.fail(f"OpenRLHF {openrlhf.VERSION} is not unpacked at {path}: run `make test-trainer`")
    return path


def options(config: RunConfig) -> list[str]:
    """What OpenRLHF gets, whichever way it is started."""
    argv = command(config, {}, "python").argv({})
    return argv[argv.index("openrlhf.cli.train_ppo_ray") + 1 :]


def filled(preset: str, client: str, estimator: str) -> RunConfig:
    """The example of a preset, filled in; groups of 8 where the estimator needs some."""
    shown = example(preset).replace("PASTE", VERSION).replace("train.jsonl", "some/prompts")
    samples = 8 if estimator in GROUPED else 1
    changed = shown.replace("client: agent", f"client: {client}")
    return shaped(
        parse(f"{changed}\nalgorithm: {{estimator: {estimator}, samples_per_prompt: {samples}}}\n", preset)
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("client", ["agent", "plain"])
@pytest.mark.parametrize("preset", PRESETS)
def test_openrlhf_takes_every_preset(source: Path, preset: str, client: str, estimator: str) -> None:
    config = filled(preset, client, estimator)
    made = train_ppo.run(source, options(config))
    judged(made, config)
    gpus = {"one-gpu": 1, "eight-gpus": 8, "several-nodes": 32}[preset]
    roles = {"policy", "reference"} | ({"critic"} if estimator == "gae" else set())
    assert made.models == dict.fromkeys(roles, gpus)
    assert made.engines["number"] * made.engines["parallel"] == gpus
    assert made.at("train.colocate_all")
    assert made.at("vllm.enable_sleep")
    assert made.trainer == "in turns"


def judged(made: Run, config: RunConfig) -> None:
    """Whether OpenRLHF understood what the configuration says."""
    where_rewards_come_from(made, config)
    for flag, value in expected(config).items():
        assert made.at(flag) == value, flag
    assert made.generation["max_len"] == config.sizes.max_len
    assert made.generation["max_new_tokens"] == config.sizes.max_new_tokens
    assert made.generation["temperature"] == config.algorithm.temperature
    assert ("critic" in made.models) == (config.algorithm.estimator == "gae")
    assert ("reference" in made.models) == (config.algorithm.kl > 0)
    assert "reward" not in made.models
    assert set(made.models.values()) == {config.hardware.nodes * config.hardware.gpus_per_node}


def where_rewards_come_from(made: Run, config: RunConfig) -> None:
    if config.reward.client == "agent":
        assert made.engines["agent_func_path"] == str(AGENT)
        assert made.engines["remote_rm_url"] == ["agent"]
    else:
        assert made.engines["agent_func_path"] is None
        assert made.engines["remote_rm_url"] == [
            f"{url.rstrip('/')}/get_reward" for url in config.reward.urls
        ]


def expected(c: RunConfig) -> dict[str, Any]:
    """What the configuration's words mean, in OpenRLHF's."""
    gae, tokens = c.algorithm.estimator == "gae", c.hardware.tokens_per_gpu
    return {
        "actor.model_name_or_path": c.model.policy,
        "critic.model_name_or_path": (c.model.critic or c.model.policy) if gae else None,
        "data.prompt_dataset": c.data.prompts,
        "data.input_key": c.data.input_key,
        "data.label_key": c.data.label_key,
        "data.apply_chat_template": c.data.apply_chat_template,
        "eval.dataset": c.data.evaluation,
        "eval.steps": c.data.evaluate_every or -1,
        "reward.clip_range": list(c.reward.clip),
        "algo.advantage.estimator": c.algorithm.estimator,
        "algo.advantage.is_correction_level": c.algorithm.is_correction.replace("none", "off"),
        "algo.kl.init_coef": c.algorithm.kl,
        "algo.kl.use_loss": c.algorithm.kl_as_loss,
        "algo.dynamic_filtering_enable": c.algorithm.filter is not None,
        "actor.adam.lr": c.algorithm.policy_lr,
        "critic.adam.lr": c.algorithm.critic_lr if gae else 9e-6,
        "train.seed": c.algorithm.seed,
        "train.max_epochs": c.algorithm.epochs,
        "train.num_episodes": c.sizes.episodes,
        "train.batch_size": c.sizes.train_batch,
        "train.micro_batch_size": c.sizes.train_micro_batch,
        "rollout.batch_size": c.sizes.rollout_batch,
        "rollout.micro_batch_size": c.sizes.rollout_micro_batch,
        "rollout.n_samples_per_prompt": c.algorithm.samples_per_prompt,
        "rollout.top_p": c.algorithm.top_p,
        "rollout.max_tokens_per_gpu": tokens,
        "train.dynamic_batch_enable": tokens is not None,
        "train.colocate_all": c.hardware.colocate == "all",
        "train.colocate_actor_ref": c.hardware.colocate == "policy_and_reference",
        "train.async_enable": c.hardware.asynchronous,
        "train.partial_rollout_enable": c.hardware.partial_rollout,
        "vllm.enable_sleep": c.hardware.engine_sleep,
        "vllm.gpu_memory_utilization": c.hardware.memory_utilization,
        "ds.enable_sleep": c.hardware.model_sleep,
        "ds.zero_stage": c.hardware.zero_stage,
        "ds.adam_offload": c.hardware.adam_offload,
        "ds.packing_samples": c.hardware.packing,
        "ds.attn_implementation": c.hardware.attention,
        "ref.offload": c.hardware.reference_offload,
        "ckpt.save_steps": c.output.save_every or -1,
        "ckpt.save_hf": c.output.save_hf,
        "ckpt.output_dir": c.output.model,
        "logger.tensorboard_dir": c.output.tensorboard,
        "logger.wandb.key": "WANDB_API_KEY" if c.output.wandb else None,
        **{f"{role}.num_nodes": c.hardware.nodes for role in ("actor", "ref", "critic", "reward")},
        **{
            f"{role}.num_gpus_per_node": c.hardware.gpus_per_node
            for role in ("actor", "ref", "critic", "reward")
        },
        **{flag: value for flag, value in c.extra.items() if flag != "data.input_template"},
    }


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=runs())
def test_openrlhf_takes_whatever_is_not_refused(source: Path, content: dict[str, Any]) -> None:
    """As it is: nothing asserted, nothing mended with a warning."""
    config = shaped(parse(yaml.safe_dump(content, allow_unicode=True), "run.yaml"))
    with redirect_stdout(StringIO()) as told:
        made = train_ppo.run(source, unpacked(config))
    judged(made, config)
    assert set(told.getvalue().splitlines()) <= {COLOCATED}
    assert made.trainer == ("asynchronous" if config.hardware.asynchronous else "in turns")


def unpacked(config: RunConfig) -> list[str]:
    """The options as they are before `ray job submit`, which tests/trainer/test_command.py is about."""
    return options(config.model_copy(update={"ray": config.ray.model_copy(update={"address": None})}))


def test_the_list_of_flags_is_openrlhfs_own(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_ppo.run(source, ["--help"])
    shown = capsys.readouterr().out.split("options:")[1]
    told = {word.strip("[],")[2:] for word in shown.split() if word.startswith("--")}
    listed = {flag for kind in known().values() for flag in kind}
    assert listed <= told | {"help"}
    assert len(listed) > 150


@pytest.mark.parametrize("preset", PRESETS)
def test_every_flag_that_a_run_decides_is_openrlhfs(preset: str) -> None:
    decided = flags(filled(preset, "agent", "gae"))
    listed = {flag for kind in known().values() for flag in kind}
    assert set(decided) <= listed
    assert {flag for flag, value in decided.items() if isinstance(value, bool)} <= known()["switches"]
    assert {flag for flag, value in decided.items() if isinstance(value, tuple)} <= known()["lists"]

"""What a run says, in OpenRLHF 0.11.2's flags.

    RunConfig -> flag, without its dashes -> value: None and False stand for not given, True for a switch

`openrlhf.yaml` lists the flags that there are.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from rbr_trainer.address import Address
from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.secrets import KEY, WANDB, place

AGENT = Path(__file__).parents[1] / "agent.py"  # found, not imported: it needs OpenRLHF

Flags = dict[str, Any]


@cache
def known() -> Mapping[str, frozenset[str]]:
    """OpenRLHF's flags: `switches` take no value, `values` take one, `lists` take some."""
    text = (files("rbr_trainer.runs") / "openrlhf.yaml").read_text(encoding="utf-8")
    return {kind: frozenset(names) for kind, names in yaml.safe_load(text).items()}


def flags(config: RunConfig, with_key: bool = False) -> Flags:
    """Every OpenRLHF flag that the configuration decides, by name; None and False stand for not given.

    Its keys are the same for every configuration.
    """
    parts = (_models, _data, _algorithm, _sizes, _placement, _memory, _output)
    made: Flags = {name: value for part in parts for name, value in part(config).items()}
    return {**made, **_reward(config, with_key)}


def _models(c: RunConfig) -> Flags:
    gae = c.algorithm.estimator == "gae"
    return {
        "actor.model_name_or_path": c.model.policy,
        "critic.model_name_or_path": (c.model.critic or c.model.policy) if gae else None,
    }


def _data(c: RunConfig) -> Flags:
    evaluated = c.data.evaluation is not None
    return {
        "data.prompt_dataset": c.data.prompts,
        "data.prompt_split": c.data.split,
        "data.input_key": c.data.input_key,
        "data.label_key": c.data.label_key,
        "data.apply_chat_template": c.data.apply_chat_template,
        "data.max_samples": c.data.max_samples,
        "eval.dataset": c.data.evaluation,
        "eval.split": c.data.evaluation_split if evaluated else None,
        "eval.steps": c.data.evaluate_every,
        "eval.n_samples_per_prompt": c.data.evaluation_samples if evaluated else None,
        "eval.temperature": c.data.evaluation_temperature if evaluated else None,
    }


def _reward(c: RunConfig, with_key: bool) -> Flags:
    plain = c.reward.client == "plain"
    return {
        "reward.remote_url": ",".join(_remote(url, with_key) for url in c.reward.urls) if plain else None,
        "train.agent_func_path": None if plain else c.ray.agent_path or str(AGENT),
        "reward.clip_range": c.reward.clip,
    }


def _remote(url: str, with_key: bool) -> str:
    root = urlsplit(Address.parse(url).root)
    user = f"rbr:{place(KEY, 'url')}@" if with_key else ""
    return f"{root.scheme}://{user}{root.netloc}{root.path}/get_reward"


def _algorithm(c: RunConfig) -> Flags:
    a, critic = c.algorithm, c.algorithm.estimator == "gae"
    return {
        "algo.advantage.estimator": a.estimator,
        "algo.advantage.is_correction_level": "off" if a.is_correction == "none" else a.is_correction,
        "algo.kl.init_coef": a.kl,
        "algo.kl.use_loss": a.kl_as_loss,
        "algo.kl.estimator": a.kl_estimator or ("k3" if a.kl_as_loss else "k1"),
        "algo.dynamic_filtering_enable": a.filter is not None,
        "algo.dynamic_filtering_range": a.filter,
        "actor.adam.lr": a.policy_lr,
        "actor.lr_scheduler": a.lr_schedule,
        "actor.lr_warmup_ratio": a.lr_warmup,
        "critic.adam.lr": a.critic_lr if critic else None,
        "critic.lr_scheduler": a.lr_schedule if critic else None,
        "critic.lr_warmup_ratio": a.lr_warmup if critic else None,
        "train.max_epochs": a.epochs,
        "train.seed": a.seed,
        "rollout.n_samples_per_prompt": a.samples_per_prompt,
        "rollout.temperature": a.temperature,
        "rollout.top_p": a.top_p,
    }


def _sizes(c: RunConfig) -> Flags:
    return {
        "rollout.batch_size": c.sizes.rollout_batch,
        "rollout.micro_batch_size": c.sizes.rollout_micro_batch,
        "rollout.max_new_tokens": c.sizes.max_new_tokens,
        "train.batch_size": c.sizes.train_batch,
        "train.micro_batch_size": c.sizes.train_micro_batch,
        "train.num_episodes": c.sizes.episodes,
        "data.max_len": c.sizes.max_len,
    }


def _placement(c: RunConfig) -> Flags:
    roles = ("actor", "ref", "critic", "reward")  # each is 8 GPUs where it is not said
    return {
        **{f"{role}.num_nodes": c.hardware.nodes for role in roles},
        **{f"{role}.num_gpus_per_node": c.hardware.gpus_per_node for role in roles},
        "train.colocate_all": c.hardware.colocate == "all",
        "train.colocate_actor_ref": c.hardware.colocate == "policy_and_reference",
        "train.async_enable": c.hardware.asynchronous,
        "train.async_queue_size": c.hardware.async_queue if c.hardware.asynchronous else None,
        "train.partial_rollout_enable": c.hardware.partial_rollout,
        "vllm.num_engines": c.hardware.engines,
        "vllm.tensor_parallel_size": c.hardware.tensor_parallel,
    }


def _memory(c: RunConfig) -> Flags:
    h = c.hardware
    return {
        "vllm.gpu_memory_utilization": h.memory_utilization,
        "vllm.enable_sleep": h.engine_sleep,
        "vllm.enforce_eager": h.eager,
        "vllm.enable_prefix_caching": h.prefix_caching,
        "ds.enable_sleep": h.model_sleep,
        "ds.zero_stage": h.zero_stage,
        "ds.adam_offload": h.adam_offload,
        "ref.offload": h.reference_offload,
        "actor.gradient_checkpointing_enable": h.gradient_checkpointing,
        "ds.attn_implementation": h.attention,
        "ds.packing_samples": h.packing,
        "train.dynamic_batch_enable": h.tokens_per_gpu is not None,
        "train.max_tokens_per_gpu": h.tokens_per_gpu,
        "rollout.max_tokens_per_gpu": h.tokens_per_gpu,
    }


def _output(c: RunConfig) -> Flags:
    return {
        "ckpt.output_dir": c.output.model,
        "ckpt.path": c.output.checkpoints,
        "ckpt.save_steps": c.output.save_every,
        "ckpt.max_num": c.output.keep,
        "ckpt.save_hf": c.output.save_hf,
        "ckpt.load_enable": c.output.resume,
        "logger.tensorboard_dir": c.output.tensorboard,
        # any text turns W&B on; it takes the key itself from the environment
        "logger.wandb.key": WANDB if c.output.wandb else None,
        "logger.wandb.project": c.output.wandb,
        "logger.wandb.run_name": c.output.name,
    }

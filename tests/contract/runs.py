"""Training runs: sound ones of every kind, drawn by hypothesis.

sizes that come out even, in layouts that fit -> YAML -> whatever reads it
"""

from math import gcd, lcm
from typing import Any

from hypothesis import strategies as st

VERSION = "ab" * 32
GROUPED = ["rloo", "reinforce_baseline", "group_norm", "dr_grpo"]

counts = st.integers(1, 4)
rates = st.floats(1e-12, 1e3)
words = (
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=","), min_size=1, max_size=8)
    .filter(lambda text: not text.startswith("-") and text.isprintable())
    .map(lambda text: text + "_")
)
urls = st.sampled_from(["http://a:1", "https://b/x/", "http://[::1]:9"])
intervals = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6)).map(lambda p: [p[0], p[0] + p[1] + 1])


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """The content of a sound run file, without a preset."""
    nodes, gpus = draw(counts), draw(counts)
    algorithm = draw(algorithms())
    asynchronous = draw(st.booleans())
    colocate = draw(st.sampled_from(["all", "policy_and_reference", "none"]))
    hardware = draw(layouts(nodes, gpus, colocate, asynchronous))
    samples = algorithm.get("samples_per_prompt", 1)
    sizes = draw(batches(nodes * gpus, samples, hardware["tokens_per_gpu"] is not None))
    if hardware["tokens_per_gpu"] is not None:
        hardware["tokens_per_gpu"] += sizes["max_len"]
    plain = draw(st.booleans())
    critic = {"critic": draw(words)} if algorithm["estimator"] == "gae" and draw(st.booleans()) else {}
    evaluation = {"evaluation": draw(words), "evaluate_every": draw(counts)} if draw(st.booleans()) else {}
    saves = {"save_every": draw(counts), "save_hf": draw(st.booleans())} if draw(st.booleans()) else {}
    return {
        "model": {"policy": draw(words), **critic},
        "data": {
            "prompts": draw(words),
            "input_key": draw(words),
            "apply_chat_template": draw(st.booleans()),
            **evaluation,
        },
        "reward": {
            "urls": draw(
                st.lists(st.sampled_from(["http://a:1", "https://b/x/", "http://[::1]:9"]), min_size=1)
            ),
            "version": draw(st.sampled_from([VERSION, "any"])),
            "client": "plain" if plain else "agent",
            "clip": draw(intervals),
            "patience": None if plain else draw(st.none() | rates),
        },
        "algorithm": algorithm,
        "sizes": sizes,
        "hardware": hardware,
        "output": {**saves, "tensorboard": draw(st.none() | words), "wandb": draw(st.none() | words)},
        "ray": {"address": "http://head:8265"} if nodes > 1 or draw(st.booleans()) else {},
        "extra": draw(extras),
    }


@st.composite
def algorithms(draw: st.DrawFn) -> dict[str, Any]:
    """Every estimator, with as many samples and such a KL term as it can have."""
    estimator = draw(st.sampled_from(["gae", "reinforce", "flash_reinforce", *GROUPED]))
    samples = draw(st.integers(2 if estimator in GROUPED else 1, 9))
    as_loss = draw(st.booleans())
    return {
        "estimator": estimator,
        "samples_per_prompt": samples,
        "kl_as_loss": as_loss,
        "kl": draw(rates if as_loss else st.floats(0, 10)),
        "kl_estimator": draw(st.sampled_from([None, "k2", "k3"] if as_loss else [None, "k1"])),
        "policy_lr": draw(rates),
        "critic_lr": draw(rates),
        "lr_warmup": draw(st.floats(0, 1)),
        "temperature": draw(rates),
        "top_p": draw(st.floats(1e-9, 1)),
        "is_correction": draw(st.sampled_from(["none", "token", "seq"])),
        "filter": draw(st.sampled_from([None, [0, 1], [0.25, 0.5]] if samples > 1 else [None])),
        "epochs": draw(counts),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@st.composite
def layouts(draw: st.DrawFn, nodes: int, gpus: int, colocate: str, asynchronous: bool) -> dict[str, Any]:
    """Models and engines that have their GPUs. `tokens_per_gpu`: what is to be added to max_len."""
    total = nodes * gpus
    shared = colocate == "all" and not asynchronous
    parallel = (
        draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0])) if shared else draw(counts)
    )
    packing = draw(st.booleans())
    zero = draw(st.integers(0, 3))
    return {
        "nodes": nodes,
        "gpus_per_node": gpus,
        "colocate": colocate,
        "engines": total // parallel if shared else draw(counts),
        "tensor_parallel": parallel,
        "memory_utilization": draw(st.floats(0.01, 1)),
        "engine_sleep": shared and draw(st.booleans()),
        "model_sleep": colocate == "all" and zero > 0 and draw(st.booleans()),
        "zero_stage": zero,
        "adam_offload": zero > 0 and draw(st.booleans()),
        "reference_offload": zero == 3 and draw(st.booleans()),
        "attention": "flash_attention_2" if packing else draw(words),
        "packing": packing,
        "tokens_per_gpu": draw(st.none() | st.integers(0, 99)) if packing else None,
        "asynchronous": asynchronous,
        "async_queue": draw(counts) if asynchronous else 1,
        "partial_rollout": asynchronous and draw(st.booleans()),
    }


@st.composite
def batches(draw: st.DrawFn, gpus: int, samples: int, by_tokens: bool) -> dict[str, Any]:
    """Batches that GPUs share out evenly, and lengths."""
    micro, new = draw(counts), draw(st.integers(1, 4096))
    train = micro * gpus * draw(counts)
    rollout_micro = draw(st.integers(1, train // gpus) if by_tokens else counts)
    share = train if by_tokens else lcm(train, rollout_micro * gpus)
    return {
        "rollout_batch": share // gcd(share, samples) * draw(counts),
        "rollout_micro_batch": rollout_micro,
        "train_batch": train,
        "train_micro_batch": micro,
        "max_len": new + draw(st.integers(1, 4096)),
        "max_new_tokens": new,
        "episodes": draw(counts),
    }


extras = st.fixed_dictionaries(
    {},
    optional={
        "actor.dual_clip": st.floats(1.5, 5),
        "actor.eps_clip_low_high": st.lists(st.floats(-1e-3, 1), min_size=2, max_size=2),
        "reward.stop_properly_penalty_coef": st.floats(-5, -1e-9),
        "ds.use_liger_kernel": st.just(True),
        "data.input_template": st.just("Human: {}\nAssistant: "),
    },
)

"""Batches that cannot be shared out evenly."""

from collections.abc import Iterator
from math import gcd, lcm

from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.misfits.misfit import Misfit


def found(c: RunConfig) -> Iterator[Misfit]:
    """See `misfits`."""
    sizes, samples, gpus = (
        c.sizes,
        c.algorithm.samples_per_prompt,
        c.hardware.nodes * c.hardware.gpus_per_node,
    )
    made, update = sizes.rollout_batch * samples, sizes.train_micro_batch * gpus
    share = rollout_share(c)
    remedy = f"set sizes.rollout_batch to {_up(sizes.rollout_batch, share // gcd(share, samples))}"
    if sizes.train_batch % update:
        yield Misfit.of(
            "sizes.train_batch sizes.train_micro_batch hardware.gpus_per_node hardware.nodes",
            f"train_batch {sizes.train_batch} is no multiple of train_micro_batch x GPUs, "
            f"{sizes.train_micro_batch} x {gpus}, and DeepSpeed refuses it: set sizes.train_batch to "
            f"{_up(sizes.train_batch, update)}",
        )
    elif made % sizes.train_batch:
        yield Misfit.of(
            "sizes.rollout_batch sizes.train_batch algorithm.samples_per_prompt",
            f"a rollout's {made} completions are no multiple of train_batch {sizes.train_batch}: the rest "
            f"would be left out, or be mixed into the next rollout's update; {remedy}",
        )
    elif made % share:
        yield Misfit.of(
            "sizes.rollout_batch sizes.rollout_micro_batch algorithm.samples_per_prompt",
            f"a rollout's {made} completions are no multiple of rollout_micro_batch x GPUs, "
            f"{sizes.rollout_micro_batch} x {gpus}: GPUs that get fewer keep the others waiting for ever; "
            f"{remedy}",
        )
    elif made < sizes.rollout_micro_batch * gpus:
        yield Misfit.of(
            "sizes.rollout_micro_batch sizes.rollout_batch hardware.tokens_per_gpu",
            f"a rollout's {made} completions are fewer than rollout_micro_batch x GPUs, "
            f"{sizes.rollout_micro_batch} x {gpus}, which OpenRLHF refuses although batches go by tokens: "
            "set sizes.rollout_micro_batch: 1",
        )
    yield from _generated(c)


def _generated(c: RunConfig) -> Iterator[Misfit]:
    """Prompts generated at a time, which only an asynchronous run can keep for the next rollout."""
    flag, size = "rollout.vllm_generate_batch_size", c.sizes.rollout_batch
    given = c.extra.get(flag, size)
    if isinstance(given, int) and given >= size and (given == size or c.hardware.asynchronous):
        return
    yield Misfit(
        (("extra", flag),),
        f"must be {size}, the rollout_batch, or with hardware.asynchronous a greater whole number: OpenRLHF "
        "refuses more elsewhere, and makes rollouts of fewer, which update nothing: remove it",
    )


def rollout_share(c: RunConfig) -> int:
    """What a rollout's completions must be a multiple of: as many for each GPU, and none left over."""
    micro = c.sizes.rollout_micro_batch * c.hardware.nodes * c.hardware.gpus_per_node
    return c.sizes.train_batch if c.hardware.tokens_per_gpu else lcm(c.sizes.train_batch, micro)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step

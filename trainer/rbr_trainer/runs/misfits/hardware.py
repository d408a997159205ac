"""Models and engines that cannot be placed so."""

from collections.abc import Iterator

from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.misfits.misfit import Misfit


def found(c: RunConfig) -> Iterator[Misfit]:
    """See `misfits`."""
    yield from _placement(c)
    yield from _sleep(c)
    yield from _packing(c)
    yield from _offload(c)


def _placement(c: RunConfig) -> Iterator[Misfit]:
    h = c.hardware
    gpus, engines = h.nodes * h.gpus_per_node, h.engines * h.tensor_parallel
    if h.colocate == "all" and not h.asynchronous and gpus != engines:
        yield Misfit.of(
            "hardware.engines hardware.tensor_parallel hardware.gpus_per_node hardware.nodes "
            "hardware.colocate",
            f"with colocate all, engines x tensor_parallel ({h.engines} x {h.tensor_parallel}) must be "
            f"nodes x gpus_per_node ({h.nodes} x {h.gpus_per_node})",
        )
    if h.nodes > 1 and not c.ray.address:
        yield Misfit.of(
            "hardware.nodes ray.address",
            "a run in place has this machine alone, and would wait for the others for ever: set ray.address "
            "to the cluster's job server, such as http://HEAD:8265",
        )
    if not h.asynchronous and (h.partial_rollout or h.async_queue != 1):
        key = "partial_rollout" if h.partial_rollout else "async_queue"
        yield Misfit.of(
            f"hardware.{key} hardware.asynchronous",
            f"{key} is for asynchronous runs: remove it, or set hardware.asynchronous: true",
        )


def _sleep(c: RunConfig) -> Iterator[Misfit]:
    h = c.hardware
    if h.engine_sleep and (h.colocate != "all" or h.asynchronous):
        yield Misfit.of(
            "hardware.engine_sleep hardware.colocate hardware.asynchronous",
            "only engines that take turns with training on its GPUs can sleep (colocate all, not "
            "asynchronous): set hardware.engine_sleep: false",
        )
    if h.model_sleep and h.colocate != "all":
        yield Misfit.of(
            "hardware.model_sleep hardware.colocate",
            "models that share their GPUs with nothing would move their states out and back at every step "
            "for nothing: set hardware.model_sleep: false",
        )


def _packing(c: RunConfig) -> Iterator[Misfit]:
    h = c.hardware
    if h.packing and "flash_attention" not in h.attention:
        yield Misfit.of(
            "hardware.attention hardware.packing",
            f"packing needs flash attention, and OpenRLHF takes flash_attention_2 for {h.attention} without "
            "a word: set hardware.attention: flash_attention_2, or hardware.packing: false",
        )
    if h.tokens_per_gpu is not None and not h.packing:
        yield Misfit.of(
            "hardware.tokens_per_gpu hardware.packing",
            "batches by tokens are packed: set hardware.packing: true, or hardware.tokens_per_gpu: null",
        )


def _offload(c: RunConfig) -> Iterator[Misfit]:
    h = c.hardware
    for key, wanted in (("adam_offload", h.adam_offload), ("model_sleep", h.model_sleep)):
        if wanted and h.zero_stage == 0:
            yield Misfit.of(
                f"hardware.{key} hardware.zero_stage",
                f"{key} moves optimizer states of ZeRO 1 to 3: set hardware.zero_stage to one of them, or "
                f"hardware.{key}: false",
            )
    if h.reference_offload and h.zero_stage != 3:
        yield Misfit.of(
            "hardware.reference_offload hardware.zero_stage",
            "only ZeRO 3 offloads parameters: set hardware.zero_stage: 3, or hardware.reference_offload: "
            "false",
        )

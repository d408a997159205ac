"""Reward, algorithm and lengths that contradict each other."""

from collections.abc import Iterator

from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.misfits.misfit import Misfit

GROUPED = ("rloo", "reinforce_baseline", "group_norm", "dr_grpo")  # they compare a prompt's completions


def found(c: RunConfig) -> Iterator[Misfit]:
    """See `misfits`."""
    if c.reward.client == "plain" and c.reward.patience is not None:
        yield Misfit.of(
            "reward.patience reward.client",
            "OpenRLHF's own client tries 5 times in 5 seconds, whatever patience says: remove "
            "reward.patience, or set reward.client: agent",
        )
    yield from _algorithm(c)
    yield from _filter(c)
    yield from _lengths(c)


def _algorithm(c: RunConfig) -> Iterator[Misfit]:
    a = c.algorithm
    if a.estimator in GROUPED and a.samples_per_prompt == 1:
        yield Misfit.of(
            "algorithm.samples_per_prompt algorithm.estimator",
            f"{a.estimator} compares the completions of one prompt, and from one alone nothing is learnt: "
            "set algorithm.samples_per_prompt to 2 or more",
        )
    if a.estimator != "gae" and c.model.critic:
        yield Misfit.of(
            "model.critic algorithm.estimator",
            f"{a.estimator} has no critic: remove model.critic, or set algorithm.estimator: gae",
        )
    if a.kl == 0 and a.kl_as_loss:
        yield Misfit.of(
            "algorithm.kl_as_loss algorithm.kl",
            "with kl 0 there is no reference to keep near: set algorithm.kl above 0, or kl_as_loss to false",
        )
    if a.kl_estimator and (a.kl_estimator == "k1") == a.kl_as_loss:
        yield Misfit.of(
            "algorithm.kl_estimator algorithm.kl_as_loss",
            "k1 is for a penalty in the reward, k2 and k3 for kl_as_loss; elsewhere their gradient is not "
            "the KL's: remove algorithm.kl_estimator",
        )


def _filter(c: RunConfig) -> Iterator[Misfit]:
    if c.algorithm.filter is None:
        return
    if c.algorithm.samples_per_prompt == 1:
        yield Misfit.of(
            "algorithm.filter algorithm.samples_per_prompt",
            "filter judges the mean score of a prompt's completions: set algorithm.samples_per_prompt to 2 "
            "or more, or remove the filter",
        )
    low, high = c.algorithm.filter
    if not 0 <= low < high <= 1:
        yield Misfit.of(
            "algorithm.filter", "compares with scores, which lie in 0 .. 1: set [0, 1] or narrower"
        )


def _lengths(c: RunConfig) -> Iterator[Misfit]:
    length, tokens = c.sizes.max_len, c.hardware.tokens_per_gpu
    if c.sizes.max_new_tokens >= length:
        yield Misfit.of(
            "sizes.max_new_tokens sizes.max_len",
            f"max_new_tokens {c.sizes.max_new_tokens} leaves the prompt nothing of max_len {length}, and "
            "OpenRLHF cuts prompts to what is left: set less, or a greater max_len",
        )
    if tokens is not None and tokens < length:
        yield Misfit.of(
            "hardware.tokens_per_gpu sizes.max_len",
            f"one sample of max_len {length} is more than tokens_per_gpu {tokens} already: set "
            f"hardware.tokens_per_gpu to {length} or more",
        )

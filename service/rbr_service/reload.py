"""A change of policy while requests are served: the whole of it, or none.

    name -> Settings -> policy, weights, calibration, cues (off the event loop)
         -> Scorer over the same engine, cache and base reward -> its questions tried -> State.take
         -> ReloadError: the scorer before goes on serving

A request keeps the scorer that it began with, so no answer mixes two versions.
"""

import asyncio
import contextlib
import logging
from pathlib import Path

from rbr_service.build import make_scorer, named
from rbr_service.errors import GraderError, ReloadError, StartupError, UnknownPolicyError
from rbr_service.scorer import Scorer
from rbr_service.settings import Settings
from rbr_service.state import State

_log = logging.getLogger("rbr.reload")


async def reload(state: State, name: str | None = None) -> tuple[Scorer, Scorer]:
    """Put a policy in force; None: the one in force, read again. The scorers before and after.

    One at a time: a second call waits. Raises UnknownPolicyError, ReloadError.
    """
    async with state.changing:
        before = state.scorer
        try:
            settings = state.in_force if name is None else named(state.settings, name)
            after = await _made(state, settings)
        except (UnknownPolicyError, ReloadError) as error:
            state.metrics.reloads.labels("refused").inc()
            _log.warning("the policy stays: %s", error.message)
            raise
        state.take(after, settings)
        state.metrics.reloads.labels("taken").inc()
        _tell(before, after)
        return before, after


async def read_again(state: State) -> None:
    """SIGHUP: the configured policy in force, read again. A refusal is told by the log and the metric."""
    with contextlib.suppress(ReloadError):
        await reload(state, Path(state.settings.policy).stem)


def _tell(before: Scorer, after: Scorer) -> None:
    versions = before.reward_version[:12], after.reward_version[:12]
    _log.warning("the policy %r is in force, reward version %s -> %s", after.policy.name, *versions)
    for mismatch in after.model.mismatches:
        _log.warning("accepted for a trial: %s", mismatch)


async def _made(state: State, settings: Settings) -> Scorer:
    before, patience = state.scorer, settings.grader_deadline
    try:
        async with asyncio.timeout(patience):
            after = await asyncio.to_thread(make_scorer, settings, state.metrics, serving=True, before=before)
            if after.grader is not before.grader:
                await after.grader.start()
    except (StartupError, GraderError) as error:
        raise ReloadError(
            f"{error.message} (the policy {before.policy.name!r} goes on serving)",
            {**error.details, "cause": error.code, "reward_version": before.reward_version},
        ) from error
    except TimeoutError as error:
        raise ReloadError(
            f"not ready within {patience:g} s (the policy {before.policy.name!r} goes on serving)",
            {"cause": GraderError.code, "reward_version": before.reward_version},
        ) from error
    return after

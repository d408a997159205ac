"""Watches what scoring depends on, so that /readyz tells the truth between requests.

every LOOK seconds: grader.check(), base reward's check() -> state.fault, state.dead
"""

import asyncio
import logging

from rbr_service.errors import BaseRewardError, GraderDeadError, GraderError
from rbr_service.state import State

LOOK = 1.0  # seconds between looks
PATIENCE = 3.0  # seconds for one answer

_log = logging.getLogger("rbr.watch")


async def watch(state: State) -> None:
    """Look until the engine is dead or the task is cancelled."""
    while not state.dead:
        await asyncio.sleep(LOOK)
        fault = await _fault(state)
        if fault != state.fault:
            _log.warning("not ready: %s", fault) if fault else _log.warning("ready again")
        state.fault = fault


async def _fault(state: State) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await state.scorer.grader.check()
            await state.scorer.base.check()
    except GraderDeadError as error:
        state.dead = True
        return error.message
    except (GraderError, BaseRewardError) as error:
        return error.message
    except TimeoutError:
        return f"no answer to a health check within {PATIENCE:g} s"
    return ""

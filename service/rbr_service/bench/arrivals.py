"""When samples are due, in seconds from the start: the answers to a prompt arrive together.

    rate, group -> [0.0, 0.0, 0.31, 0.31, ...]     a Poisson process of groups
    rollout     -> [0.0, 0.0, 0.0, ...]            everything at once

The times are fixed before the first request is made, so that a slow server cannot put them off.
"""

from random import Random


def poisson(rate: float, group: int, duration: float, count: int | None, rng: Random) -> list[float]:
    """`rate` samples per second in groups of `group`, the first at 0; none from `duration` seconds on.

    `count` bounds them, None does not; the last group may then be a part of one.
    """
    moment, found = 0.0, list[float]()
    while moment < duration and (count is None or len(found) < count):
        found += [moment] * group
        moment += rng.expovariate(rate / group)
    return found[:count]


def at_once(count: int) -> list[float]:
    """All of them at 0."""
    return [0.0] * count

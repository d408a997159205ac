"""A simulated helpful-only reward, for fitting and judging weights where there is no reward model.

    prompt, completion, class -> a normal value of standard deviation 1, drawn from their hash

The best class has mean 0; the others share the mean at which a completion of theirs is as often above one
of the best class as `error` says. The paper's reward models err so in .70 (hard refusal), .32 (soft
refusal) and .105 (comply) of the pairs (Figure 3b).
"""

import math
from statistics import NormalDist

from rbr_service.errors import DataError
from rbr_service.rbr.policy import digest


def base_reward(text: object, *, best: bool, error: float, seed: int) -> float:
    """The reward of `text` (whatever JSON can hold; its content decides).

    Raises DataError for an error that is no share.
    """
    if not 0 < error < 1:
        raise DataError(f"a simulated reward's error lies between 0 and 1, not at {error:g}")
    draw = (int(digest([seed, text])[:13], 16) + 0.5) / 16**13
    mean = 0.0 if best else math.sqrt(2) * NormalDist().inv_cdf(error)
    return mean + NormalDist().inv_cdf(draw)

"""How far rewards reach, beside the range that the trainer clips them to.

    Service, clip range -> Finding

OpenRLHF clips rewards to --reward.clip_range (default -10 10) without a word: completions beyond it earn
alike, and PPO learns nothing from what tells them apart. With the estimators gae and reinforce that falls
on the reward itself, base reward included; the others first subtract what a prompt's completions share.
"""

from math import ceil, floor

from rbr_trainer.preflight.finding import Finding
from rbr_trainer.service import Range, Service

NAME = "clip range"


def reach(service: Service, clip: Range) -> Finding:
    """How far each response type's RBR reward goes, and what of it the clip cuts off."""
    base = service.base_reward
    share = (
        "Without a base reward these are the whole rewards."
        if base == "none"
        else f"The base reward ({base}) is added before the clip and is not counted here: leave it room."
    )
    lines = [
        f"{'response type':24} {'RBR reward':>18}   outside {clip.low:g} .. {clip.high:g}",
        *(
            f"{name:24} {found.low:8.2f} ..{found.high:7.2f}   {_clipped(found, clip)}"
            for name, found in service.ranges.items()
        ),
        share,
    ]
    remedy = _remedy(service, clip)
    return Finding(NAME, not remedy, "\n".join(lines), remedy)


def _remedy(service: Service, clip: Range) -> str:
    beyond = {name: reached for name, reached in service.ranges.items() if not reached.within(clip)}
    if not beyond:
        return ""
    low = min(clip.low, *(floor(reached.low) for reached in beyond.values()))
    high = max(clip.high, *(ceil(reached.high) for reached in beyond.values()))
    return (
        f"the clip cuts off rewards of {', '.join(beyond)}, and OpenRLHF does not tell: "
        "fit with a smaller `rbr fit --strength`, "
        f"or train with --reward.clip_range {low:g} {high:g} or wider"
    )


def _clipped(found: Range, clip: Range) -> str:
    if found.within(clip):
        return "nothing"
    width = found.high - found.low
    return (
        f"{found.outside(clip):.2f}, {found.outside(clip) / width:.0%} of the range" if width else "all of it"
    )

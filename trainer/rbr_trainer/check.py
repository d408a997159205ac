"""`rbr-train check`: what would spoil a run, told before it starts.

    Service, clip range -> what is printed, and the faults that end it with exit code 1

OpenRLHF clips rewards to --reward.clip_range (default -10 10) without a word: completions beyond it earn
alike, and PPO learns nothing from what tells them apart. With the estimators gae and reinforce that falls
on the reward itself, base reward included; the others first subtract what a prompt's completions share.
"""

import asyncio
import os
from math import ceil, floor

import click

from rbr_trainer.address import Address
from rbr_trainer.client import ASKING, Client
from rbr_trainer.errors import ServiceError
from rbr_trainer.service import Range, Service, ask


@click.command()
@click.argument("url")
@click.option(
    "--clip-range",
    "clip",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    default=(-10.0, 10.0),
    show_default=True,
    help="The run's --reward.clip_range; the default is OpenRLHF's own.",
)
def check(url: str, clip: tuple[float, float]) -> None:
    """Ask the reward service at URL whether a run can start.

    URL is the service's, or what --reward.remote_url will be. A key that it demands comes from the
    environment, RBR_API_KEY, or in the URL. The clip falls on the reward itself with OpenRLHF's
    estimators gae and reinforce; the others first subtract what a prompt's completions share.

    \b
    Exit codes:
      0  it is ready, and no RBR reward is clipped
      1  it is not ready, or the clip cuts off rewards that completions can earn
      2  bad usage
    """  # noqa: D301 - click's mark: keep these lines as they are
    wanted = Range(*clip)
    if not wanted.low < wanted.high:
        raise click.BadParameter("LOW must be less than HIGH", param_hint="--clip-range")
    try:
        address = Address.parse(url, os.environ.get("RBR_API_KEY"))
    except ValueError as error:
        raise click.BadParameter(f"{url!r}: {error}", param_hint="URL") from error
    service = asyncio.run(_asked(address))
    click.echo("\n".join(described(service, wanted)))
    found = faults(service, wanted)
    if found:
        raise ServiceError("\n".join(found))


async def _asked(address: Address) -> Service:
    async with Client([address], ASKING) as client:
        return await ask(client)


def described(service: Service, clip: Range) -> list[str]:
    """The service, and how far each response type's RBR reward goes beside the clip range, in lines."""
    base = service.base_reward
    share = (
        "Without a base reward these are the whole rewards."
        if base == "none"
        else f"The base reward ({base}) is added before the clip and is not counted here: leave it room."
    )
    return [
        f"{'policy':16} {service.policy}",
        f"{'reward version':16} {service.reward_version}",
        f"{'state':16} {f'not ready: {service.fault}' if service.fault else 'ready'}",
        *(f"{'accepted':16} {mismatch}" for mismatch in service.mismatches or ("no mismatch",)),
        "",
        f"{'response type':24} {'RBR reward':>18}   outside {clip.low:g} .. {clip.high:g}",
        *(
            f"{name:24} {found.low:8.2f} ..{found.high:7.2f}   {_clipped(found, clip)}"
            for name, found in service.ranges.items()
        ),
        "",
        share,
    ]


def faults(service: Service, clip: Range) -> list[str]:
    """Why a run had better not start, with what to do; empty where it may."""
    found = [f"the service is not ready: {service.fault}"] if service.fault else []
    beyond = {name: reached for name, reached in service.ranges.items() if not reached.within(clip)}
    if beyond:
        low = min(clip.low, *(floor(reached.low) for reached in beyond.values()))
        high = max(clip.high, *(ceil(reached.high) for reached in beyond.values()))
        found.append(
            f"the clip cuts off rewards of {', '.join(beyond)}, and OpenRLHF does not tell: "
            "fit with a smaller `rbr fit --strength`, "
            f"or train with --reward.clip_range {low:g} {high:g} or wider"
        )
    return found


def _clipped(found: Range, clip: Range) -> str:
    if found.within(clip):
        return "nothing"
    width = found.high - found.low
    return (
        f"{found.outside(clip):.2f}, {found.outside(clip) / width:.0%} of the range" if width else "all of it"
    )

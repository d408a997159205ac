"""Options that several commands have: where the policy is, and where a row's values are."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from rbr_trainer.address import Address, shown
from rbr_trainer.client import ASKING, Client
from rbr_trainer.data.policy import Policy, load, parse
from rbr_trainer.errors import InputError, Unsound

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Source:
    """A policy, and the service it came from, if any: its address, reward version and grader."""

    policy: Policy
    address: Address | None = None
    reward_version: str = ""
    grader: str = ""
    note: str = ""


def policy_options(command: F) -> F:
    """Adds --policy and --service."""
    service = click.option(
        "--service",
        metavar="URL",
        help="The running service; its policy is taken. Its key comes from RBR_API_KEY or the URL.",
    )
    policy = click.option("--policy", type=click.Path(path_type=Path), help="The policy's YAML file.")
    return policy(service(command))


def column_options(command: F) -> F:
    """Adds --prompt-key, --label-key and --unlabelled."""
    prompt = click.option(
        "--prompt-key", metavar="COLUMN", help="Holds the prompt.  [default: prompt, else messages]"
    )
    label = click.option(
        "--label-key",
        metavar="COLUMN",
        help="Holds the label, and no other column does; of verl's rows reward_model.ground_truth.  "
        "[default: label, response_type and category]",
    )
    unlabelled = click.option(
        "--unlabelled",
        is_flag=True,
        help="Rows without a label stay so: the policy's `unlabelled` says what they are.",
    )
    return prompt(label(unlabelled(command)))


def policy_source(path: Path | None, url: str | None) -> Source:
    """The policy of a file or a service, one of which must be named. Raises InputError, ServiceError."""
    if (path is None) == (url is None):
        raise click.UsageError(
            "name the policy by --policy FILE, or the service that serves it by --service URL: one of the two"
        )
    if path is not None:
        return Source(load(path))
    at = address(str(url), "--service", "RBR_API_KEY")
    return asyncio.run(_asked(at))


def address(url: str, option: str, key: str, environ: Mapping[str, str] = os.environ) -> Address:
    """The address that an option names; `key`: the variable that may hold its key. Raises InputError."""
    try:
        return Address.parse(url, environ.get(key))
    except ValueError as error:
        raise InputError(f"{option} {shown(url)!r}: {error}") from error


async def _asked(at: Address) -> Source:
    async with Client([at], ASKING) as client:
        (_, ready), (_, policy) = await client.get("/readyz"), await client.get("/v1/policy")
    try:
        told = [str(part) for part in (policy["reward_version"], ready["grader"], ready["grader_note"])]
        return Source(parse(policy["content"], f"{at.root}/v1/policy"), at, *told)
    except (KeyError, TypeError, InputError) as error:
        raise Unsound(
            f"{at.root} answers, but not as this rbr-train expects ({error!r}): install one version of "
            "rule-based-rewards on both sides"
        ) from error

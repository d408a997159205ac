"""Where a command's policy comes from: a file, or the service that serves it."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from rbr_trainer.address import Address
from rbr_trainer.client import ASKING, Client
from rbr_trainer.errors import InputError
from rbr_trainer.policy import Policy, load, parse
from rbr_trainer.service import Service, ask

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Source:
    """A policy, and the service it came from, if any."""

    policy: Policy
    address: Address | None = None
    service: Service | None = None


def options(command: F) -> F:
    """Adds --policy and --service."""
    service = click.option(
        "--service", metavar="URL",
        help="The running service; its policy is taken. Its key comes from RBR_API_KEY or the URL.",
    )  # fmt: skip
    policy = click.option("--policy", type=click.Path(path_type=Path), help="The policy's YAML file.")
    return policy(service(command))


def read(path: Path | None, url: str | None) -> Source:
    """The policy of a file or a service, one of which must be named. Raises InputError, ServiceError."""
    if (path is None) == (url is None):
        raise click.UsageError(
            "name the policy: its file by --policy, or the service that serves it by --service"
        )
    if path is not None:
        return Source(load(path))
    at = address(str(url), "--service")
    service = asyncio.run(_asked(at))
    return Source(parse(service.content, at.root), at, service)


def address(url: str, option: str, key: str = "RBR_API_KEY") -> Address:
    """The address that an option names; `key`: the variable that may hold its key. Raises InputError."""
    try:
        return Address.parse(url, os.environ.get(key))
    except ValueError as error:
        raise InputError(f"{option} {url!r}: {error}") from error


async def _asked(at: Address) -> Service:
    async with Client([at], ASKING) as client:
        return await ask(client)

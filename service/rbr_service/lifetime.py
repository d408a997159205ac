"""What has to be started before it is used and closed in the end: graders, sources of base rewards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Startable(Protocol):
    """Something with a beginning and an end."""

    async def start(self) -> None:
        """Make it usable."""

    async def close(self) -> None:
        """Give back what `start` took, also where it failed half way."""


S = TypeVar("S", bound=Startable)


@asynccontextmanager
async def started(part: S) -> AsyncIterator[S]:
    """It, started, and closed in the end. Raises what `start` does."""
    try:
        await part.start()
        yield part
    finally:
        await part.close()

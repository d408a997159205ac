"""What every writer promises: a completion that a brief describes, or that it cannot be written.

    Brief, prompt, seed -> Written(text, what is meant to be true of it) | CannotWrite(why)

A brief that cannot be fulfilled is a value, since another one may do; a writer that fails raises.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rbr_service.conversation import Message
from rbr_service.rbr.briefs import Assignment, Brief


@dataclass(frozen=True, slots=True)
class Written:
    """A completion. `propositions`: what its writer meant to be true and false of it."""

    text: str
    propositions: Assignment


@dataclass(frozen=True, slots=True)
class CannotWrite:
    """Why there is no completion, in the writer's words; never in those of a model or a text."""

    reason: str


class Writer(Protocol):
    """Writes completions."""

    @property
    def name(self) -> str:
        """Short name, as `--writer` has it."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that is known to decide what it writes."""

    async def start(self) -> None:
        """Make it usable. Raises WriterError."""

    async def write(self, brief: Brief, prompt: Sequence[Message], seed: int) -> Written | CannotWrite:
        """One completion of the prompt; the same seed asks for the same one. Raises WriterError."""

    async def close(self) -> None:
        """Give back what `start` took."""

"""OpenRLHF's own reward client, loaded from its unpacked wheel without its dependencies.

The wheel brings torch, Ray and vLLM along, and a top-level package named `tests`; so it is unpacked
apart from every import path, and the one file that calls the reward service is loaded by path. That
file needs aiohttp and, of OpenRLHF, its logger alone, for which a stub stands in.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

VERSION = "0.11.2"
VARIABLE = "OPENRLHF_SOURCE"
_LOGGING = "openrlhf.utils.logging_utils"


class Executor(Protocol):
    """What the tests use of OpenRLHF's `SingleTurnAgentExecutor`."""

    async def _fetch_rewards_via_http(
        self, queries_list: list[str], prompts_list: list[str], labels_list: list[Any]
    ) -> list[dict[str, Any]]: ...

    async def execute(
        self,
        prompt: str,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class OpenRLHF:
    """The loaded module; `executor` makes one of its clients."""

    module: ModuleType

    def executor(self, url: str) -> Executor:
        made: Executor = self.module.SingleTurnAgentExecutor(url)
        return made

    async def fetch(self, url: str, queries: list[str], prompts: list[str], labels: list[Any]) -> Any:
        """The bodies that its client hands to the trainer, one per request it made."""
        return await self.executor(url)._fetch_rewards_via_http(queries, prompts, labels)


def folder(repository: Path) -> Path:
    """Where the wheel was unpacked, whether it is there or not."""
    return Path(os.environ.get(VARIABLE) or repository / "build" / f"openrlhf-{VERSION}")


def load(path: Path) -> OpenRLHF:
    """The client of the wheel unpacked at `path`."""
    stub = ModuleType(_LOGGING)
    stub.__dict__["init_logger"] = logging.getLogger
    sys.modules[_LOGGING] = stub
    try:
        spec = importlib.util.spec_from_file_location("openrlhf_agent", path / "openrlhf/utils/agent.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules[_LOGGING]
    return OpenRLHF(module)


class CharacterTokenizer:
    """Stands in for a Hugging Face tokenizer: one token a character, so that it round-trips."""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        codes = [ord(character) for character in text]
        return {"input_ids": [SimpleNamespace(tolist=lambda: codes)]}

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return "".join(map(chr, tokens))


@dataclass
class FixedEngine:
    """Stands in for vLLM: always generates `text` and stops by itself."""

    text: str
    prompts: list[str] = field(default_factory=list)

    async def generate(self, tokens: Sequence[int], *_: Any, **__: Any) -> Any:
        self.prompts.append("".join(map(chr, tokens)))
        output = SimpleNamespace(token_ids=list(map(ord, self.text)), finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])

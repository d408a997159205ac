"""verl's own reward loading and reward managers, from its unpacked wheel without its dependencies.

The packages are entered without their `__init__`, which bring tensordict, vLLM and more along; what is loaded
of them are the files that call a reward function. Stand-ins: its batch and its configuration's class.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

VERSION = "0.9.1"
VARIABLE = "VERL_SOURCE"
PACKAGES = (
    "verl", "verl.utils", "verl.trainer", "verl.trainer.ppo", "verl.experimental",
    "verl.experimental.reward_loop", "verl.experimental.reward_loop.reward_manager",
)  # fmt: skip


class Config(dict[str, Any]):
    """Stands in for OmegaConf's: entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Batch:
    """Stands in for verl's DataProto: one row or some, and that is all the managers want of it."""

    def __init__(self, rows: list[tuple[Mapping[str, Any], dict[str, Any]]]) -> None:
        self.rows = rows

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Batch(self.rows[index])
        batch, others = self.rows[index]
        return SimpleNamespace(batch=batch, non_tensor_batch=others)


def folder(repository: Path) -> Path:
    """Where the wheel was unpacked, whether it is there or not."""
    return Path(os.environ.get(VARIABLE) or repository / "build" / f"verl-{VERSION}")


@contextmanager
def loaded(path: Path) -> Iterator[ModuleType]:
    """`verl.trainer.ppo.reward`, which makes reward managers; importable in the block."""
    before = dict(sys.modules)
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(path.joinpath(*name.split(".")))]
        sys.modules[name] = package
    sys.modules["verl"].__dict__["DataProto"] = Batch
    sys.modules["omegaconf"] = ModuleType("omegaconf")
    sys.modules["omegaconf"].__dict__["DictConfig"] = Config
    managers = PACKAGES[-1]
    registry = importlib.import_module(f"{managers}.registry")
    for name in ("register", "get_reward_manager_cls"):  # what its __init__ offers
        sys.modules[managers].__dict__[name] = getattr(registry, name)
    try:
        for name in ("naive", "dapo"):
            importlib.import_module(f"{managers}.{name}")
        yield importlib.import_module("verl.trainer.ppo.reward")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("verl", "omegaconf")]:
            del sys.modules[name]
            if name in before:
                sys.modules[name] = before[name]

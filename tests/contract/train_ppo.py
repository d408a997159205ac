"""OpenRLHF's own `train_ppo_ray`, run as the program it is, with stand-ins for all that needs a GPU.

argv -> its argparse, its assertions, its `train` -> Run: arguments as parsed, models and engines as placed
"""

import importlib.util
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

CONFIG = "openrlhf.utils.config"


@dataclass
class Run:
    """What OpenRLHF made of a command line."""

    args: Any = None
    engines: dict[str, Any] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)  # GPUs by role
    generation: dict[str, Any] = field(default_factory=dict)
    trainer: str = ""

    def at(self, flag: str) -> Any:
        """The parsed value of a flag, `actor.adam.lr`."""
        found = self.args
        for part in flag.split("."):
            found = getattr(found, part)
        return found


def run(source: Path, argv: Sequence[str]) -> Run:
    """Runs `source`'s openrlhf/cli/train_ppo_ray.py. Raises SystemExit and AssertionError as it does."""
    seen = Run()
    with (
        patch.dict(sys.modules, _stand_ins(source, seen)),
        patch.object(sys, "argv", ["train_ppo_ray", *argv]),
    ):
        runpy.run_path(str(source / "openrlhf/cli/train_ppo_ray.py"), run_name="__main__")
    assert seen.trainer, "OpenRLHF did not come to its trainer"
    return seen


def _stand_ins(source: Path, seen: Run) -> dict[str, ModuleType]:
    def strategy(args: Any) -> MagicMock:
        seen.args = args
        return MagicMock()

    def group(nodes: int, gpus: int, role: str, **_: Any) -> MagicMock:
        seen.models[role] = nodes * gpus
        return MagicMock()

    def engines(number: int, parallel: int, *_: Any, **named: Any) -> list[None]:
        seen.engines.update(named, number=number, parallel=parallel)
        return [None] * number

    def trainer(name: str) -> SimpleNamespace:
        def remote(*_: Any, **generation: Any) -> MagicMock:
            seen.trainer, seen.generation = name, generation
            return MagicMock()

        return SimpleNamespace(remote=remote)

    place = "openrlhf.trainer"
    roles = {"ReferenceModelActor": "reference", "RewardModelActor": "reward"}
    return {
        "ray": _module("ray", is_initialized=lambda: True, get=MagicMock()),
        "ray.util": _module("ray.util"),
        "ray.util.placement_group": _module("ray.util.placement_group", placement_group=MagicMock()),
        "openrlhf": _module("openrlhf"),
        place: _module(place),
        f"{place}.ray": _module(f"{place}.ray", create_vllm_engines=engines),
        f"{place}.ray.launcher": _module("launcher", RayActorGroup=group, **roles),
        f"{place}.ray.ppo_actor": _module("ppo_actor", PolicyModelActor="policy"),
        f"{place}.ray.ppo_critic": _module("ppo_critic", CriticModelActor="critic"),
        f"{place}.ppo_trainer": _module("ppo_trainer", PPOTrainer=trainer("in turns")),
        f"{place}.ppo_trainer_async": _module("ppo_trainer_async", PPOTrainerAsync=trainer("asynchronous")),
        "openrlhf.utils": _module("openrlhf.utils", get_strategy=strategy),
        CONFIG: _real(CONFIG, source / "openrlhf/utils/config.py"),
    }


def _module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


def _real(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

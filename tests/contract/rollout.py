"""OpenRLHF's processes without its models: a driver, a trainer, and a rollout worker that holds the agent.

python -m tests.contract.rollout LABEL: four samples of one prompt, or the failure that ends the run
"""

import asyncio
import importlib
import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

from .openrlhf import CharacterTokenizer, FixedEngine

ray = importlib.import_module("ray")  # only the trainer's environment has it, and its types


class Rollout:
    """Loads the agent and runs it as OpenRLHF's RolloutRayActor does."""

    def __init__(self, path: str) -> None:
        spec = importlib.util.spec_from_file_location("agent_module", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.executor = module.AgentExecutor()

    async def generate_responses(self, label: str) -> list[Any]:
        params = SimpleNamespace(max_tokens=10, logprobs=None)
        engine, words = FixedEngine("I'm sorry."), CharacterTokenizer()
        calls = [self.executor.execute("Hello!", label, params, 100, words, engine) for _ in range(4)]
        return await asyncio.gather(*calls)


class Trainer:
    """Waits for samples as OpenRLHF's does."""

    def fit(self, engine: Any, label: str) -> list[Any]:
        samples: list[Any] = ray.get(engine.generate_responses.remote(label))
        return samples


if __name__ == "__main__":
    package = importlib.util.find_spec("rbr_trainer")
    assert package
    assert package.submodule_search_locations
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20)
    worker = ray.remote(Rollout).remote(f"{package.submodule_search_locations[0]}/agent.py")
    samples = ray.get(ray.remote(Trainer).remote().fit.remote(worker, sys.argv[1]))
    assert all(sample["reward"] == samples[0]["reward"] for sample in samples)

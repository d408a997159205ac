"""One PPO run as a user starts it: `rbr-train run`, on the CPU's cluster.

requests, reward URL -> dataset and run.yaml -> rbr-train run -> OpenRLHF's log -> [step]
"""

import ast
import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .grammar import Request

ROLLOUT = 64  # prompts a step; two epochs in two updates each make four updates a step
_STEP = re.compile(r"Global step (\d+): (\{.*\})")

# What moves so small a policy in two minutes: OpenRLHF's default learning rates are for large ones.
RUN: Mapping[str, Any] = {
    "algorithm": {
        "estimator": "gae", "kl": 0.12, "policy_lr": 3e-4, "critic_lr": 1e-3, "lr_warmup": 0.0, "epochs": 2,
    },
    "sizes": {
        "rollout_batch": ROLLOUT, "rollout_micro_batch": ROLLOUT, "train_batch": 32, "train_micro_batch": 32,
        "max_len": 96, "max_new_tokens": 48,
    },
    "hardware": {
        "nodes": 1, "gpus_per_node": 1, "colocate": "none", "engines": 1, "tensor_parallel": 1,
        "memory_utilization": 0.9, "engine_sleep": False, "model_sleep": False, "zero_stage": 0,
        "gradient_checkpointing": False, "attention": "eager",
    },
    "extra": {"ckpt.disable_ds": True},
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run: its exit code, its folder (`model/` holds the trained policy), its log's text."""

    code: int
    folder: Path
    log: str

    @property
    def steps(self) -> list[dict[str, float]]:
        """OpenRLHF's figures of each step, in order."""
        return [ast.literal_eval(found[2]) for found in _STEP.finditer(self.log)]


def command(
    folder: Path, policy: Path, url: str, drawn: Sequence[Request], *, seed: int, client: str, check: bool,
    **reward: Any,
) -> list[str]:  # fmt: skip
    """Write the run's files into `folder`; the command that starts it.

    `reward`: further keys of the configuration's part of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(f"{json.dumps(_row(request))}\n" for request in drawn))
    run = {
        **RUN,
        "model": {"policy": str(policy)},
        "data": {"prompts": str(prompts)},
        "reward": {"urls": [url], "client": client, "version": "any", **reward},
        "algorithm": {**RUN["algorithm"], "seed": seed},
        "output": {"model": str(folder / "model"), "checkpoints": str(folder / "checkpoints")},
    }  # fmt: skip
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump(run, sort_keys=False))
    program = str(Path(sys.executable).with_name("rbr-train"))
    return [program, "run", str(config), *([] if check else ["--no-check"])]


def train(command: list[str], folder: Path, environ: Mapping[str, str]) -> Run:
    """Run it to its end."""
    log = folder / "log"
    with log.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=out, env=environ, check=False, cwd=folder)
    return Run(done.returncode, folder, log.read_text(errors="replace"))


def draw(requests: Sequence[Request], steps: int, seed: int) -> list[Request]:
    """Requests for so many steps, harmful and harmless alike often, each drawn anew."""
    chance = random.Random(seed)
    kinds = [[r for r in requests if r.harmful is harmful] for harmful in (True, False)]
    return [chance.choice(kinds[i % 2]) for i in range(steps * ROLLOUT)]


def _row(request: Request) -> dict[str, Any]:
    messages = [{"role": "user", "content": request.text}]
    label = {"response_type": request.response_type, "messages": messages}
    return {"messages": messages, "label": json.dumps(label)}

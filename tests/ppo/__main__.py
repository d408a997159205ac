"""`make bench-ppo`: what the reward teaches, against rewards without rules.

policy taught once -> each arm with each seed -> figures of every run -> build/ppo/results.json, a table
"""

import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .arms import ARMS, Arm, evaluated, shares, trained
from .servers import Server, service, toy
from .table import table
from .teaching import teach

STEPS = 80
CURVES = ("reward", "kl", "response_length", "ppo_clip_ratio")


def main(folder: Path) -> None:
    """All runs; what `folder` held is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    policy = folder / "policy"
    runs = [(arm, seed) for arm in ARMS for seed in arm.seeds]
    with ExitStack() as running, tqdm(total=len(runs) + 2, unit="run", file=sys.stderr) as progress:
        progress.set_description("teaching")
        teach(policy)
        progress.update()
        helpful = running.enter_context(toy(folder, "helpful"))
        sources: dict[str, Server] = {
            "helpful": helpful,
            "cautious": running.enter_context(toy(folder, "cautious")),
            "service": running.enter_context(service(folder, helpful=helpful)),
        }
        results: dict[str, Any] = {
            "steps": STEPS,
            "reward_version": sources["service"].get("/readyz")["reward_version"],
            "start": evaluated(folder / "start", policy, sources["service"]),
            "arms": [],
        }
        progress.update()
        for arm, seed in runs:
            progress.set_description(f"{arm.name} {seed}")
            results["arms"].append(_run(folder / f"{arm.name}-{seed}", policy, arm, seed, sources))
            (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
            progress.update()
    print("\n".join(table(results)))  # noqa: T201


def _run(folder: Path, policy: Path, arm: Arm, seed: int, sources: dict[str, Server]) -> dict[str, Any]:
    run = trained(folder, policy, arm, seed, STEPS, sources[arm.source])
    return {
        "arm": arm.name,
        "seed": seed,
        "curves": {name: [step[name] for step in run.steps] for name in CURVES},
        "shares": shares(folder),
        "held_out": evaluated(folder / "held-out", folder / "model", sources["service"]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/ppo").resolve())

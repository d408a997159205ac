"""The environment in which any OpenRLHF command runs on a machine without a GPU.

this process's variables -> stand-ins first on the path, logical GPUs for Ray, CPU for DeepSpeed
"""

import json
import os
import socket
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
LOOPBACK = "127.0.0.1"
# Of Ray's own cluster: a logical GPU each for actor, critic, reference and engine.
RESOURCES = {"CPU": 16, "GPU": 4, "object_store_memory": 400 << 20}


def environment() -> dict[str, str]:
    """This process's environment, with what each process of a run needs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RBR_", "RAY_"))}
    return kept | {
        "PYTHONPATH": f"{STAND_INS}{os.pathsep}{ROOT}",
        "RAY_RUNTIME_ENV_HOOK": "tests.ppo.cpu.on_cpu",
        "RAY_OVERRIDE_RESOURCES": json.dumps(RESOURCES),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_worker_niceness": "0",  # a run's workers are its work, not the background
        "DS_ACCELERATOR": "cpu",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server((LOOPBACK, 0)) as free:
        return int(free.getsockname()[1])

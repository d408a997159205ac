"""OpenRLHF and DeepSpeed on a machine without a GPU: what they ask of CUDA, answered by the CPU.

    ray.init's hook `on_cpu` -> `install` in every worker process, before it runs anything

Ray counts logical GPUs. Training code is OpenRLHF's and DeepSpeed's own; only its devices, and
what it would compile (a fused optimizer, a communicator), are changed here.
"""

import shlex
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def on_cpu(runtime_env: dict[str, Any] | None) -> dict[str, Any]:
    """Ray's RAY_RUNTIME_ENV_HOOK: workers begin with `install`, also from a path with a space in it."""
    return {
        **(runtime_env or {}),
        "worker_process_setup_hook": "tests.ppo.cpu.install",
        "py_executable": shlex.quote(sys.executable),  # Ray puts it into a shell's command as it is
    }


def install() -> None:
    """Let this process's CUDA calls be answered by the CPU."""
    import torch
    from openrlhf.trainer.ppo_utils import replay_buffer
    from openrlhf.utils.deepspeed import deepspeed

    torch.set_num_threads(1)
    # gloo does; DeepSpeed's own shared memory would have to be compiled
    import_module("deepspeed.comm.torch").__dict__["build_shm_op"] = lambda: None
    cuda: Any = torch.cuda
    cuda.current_device = lambda: "cpu"
    cuda.set_device = cuda.synchronize = cuda.current_stream = lambda *_: None
    cuda.empty_cache = lambda: None
    replay_buffer.torch = _Torch("torch")
    mesh = deepspeed.init_device_mesh
    deepspeed.init_device_mesh = lambda _, *args, **kwargs: mesh("cpu", *args, **kwargs)
    strategy = deepspeed.DeepspeedStrategy
    config = strategy.get_ds_train_config
    strategy.get_ds_train_config = lambda *args, **kwargs: _plain_adam(config(*args, **kwargs))


def _plain_adam(config: dict[str, Any]) -> dict[str, Any]:
    """torch's Adam: DeepSpeed's fused ones are compiled kernels."""
    if "optimizer" in config:  # OpenRLHF asks twice: for the model, then for training it
        config["optimizer"].setdefault("params", {})["torch_adam"] = True
    config["zero_optimization"]["offload_optimizer"] = {"device": "none"}
    return config


class _Torch(ModuleType):
    """torch, but every device is the CPU: the replay buffer writes "cuda:" before the device's name."""

    def __getattr__(self, name: str) -> Any:
        import torch

        return getattr(torch, name)

    @staticmethod
    def device(_: str) -> Any:
        import torch

        return torch.device("cpu")

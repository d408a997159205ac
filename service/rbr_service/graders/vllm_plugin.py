"""Runs inside vLLM's own processes: they end when the service that started them does.

rbr (vllm.py sets OWNER) -> EngineCore -> workers, each asks the kernel to be killed with its parent

vLLM's processes outlive a parent that was killed with -9, as the kernel does when memory runs out, and
keep the GPU's memory from the restart. vLLM loads this through the entry point `vllm.general_plugins`.
"""

import ctypes
import os
import signal
import sys

OWNER = "RULE_BASED_REWARDS_ENGINE_OWNER"  # the service's process id; other programs' vLLM has none

_PR_SET_PDEATHSIG = 1  # prctl(2)


def own_the_engine() -> None:
    """Called in the service: the engine's processes that it starts from now on are its own."""
    os.environ[OWNER] = str(os.getpid())


def end_with_parent() -> None:
    """Called by vLLM in each of its processes, the service's own among them."""
    owner = os.environ.get(OWNER)
    if owner is None or owner == str(os.getpid()) or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 and owner != "1":
        os.kill(os.getpid(), signal.SIGKILL)  # the parent was gone before the kernel was asked

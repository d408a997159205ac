"""vLLM's own HTTP server as a process: start it, halt it, kill it, start it again on the same port."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

START = 300.0  # seconds; the first start of a machine may compile
SHOWN = 6000  # characters of a log

# What a test's engine needs of its environment, whether in this process or in a server's.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "TORCH_COMPILE_DISABLE": "1",  # it would compile C++ for long, and not where the path has a space in it
}


class Server:
    """`python -m vllm.entrypoints.openai.api_server` over a model's folder."""

    def __init__(self, model: Path, log: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(model), "--host", "127.0.0.1", "--port", str(self.port)),
            *("--dtype", "float32", "--block-size", "32", "--enforce-eager", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Begin, without waiting."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=out, env=os.environ | ENVIRONMENT, start_new_session=True
            )

    def ready(self) -> "Server":
        """The server, once it answers."""
        end = time.monotonic() + START
        while time.monotonic() < end:
            assert self._process
            assert self._process.poll() is None, self.tail()
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"no server after {START:g} s: {self.tail()}")

    def signal(self, number: signal.Signals) -> None:
        """Signal the server and its engine."""
        assert self._process
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it and its engine, whatever they do."""
        if self._process:
            self.signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def tail(self) -> str:
        """The log's end."""
        return self.log.read_text(errors="replace")[-SHOWN:]

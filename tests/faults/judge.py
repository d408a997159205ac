"""A grader's server as a process: vLLM's HTTP API over a hash in place of a model.

    token ids of a prompt -> sha256 -> log probabilities of the labels: the same in every life of it

python -m tests.faults.judge PORT FOLDER: serve on 127.0.0.1 with the tokenizer that lies in FOLDER.
"""

import hashlib
import math
import subprocess
import sys
import urllib.request
from array import array
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from tokenizers import Tokenizer

from tests.e2e.processes import until
from tests.mortal import Mortal
from tests.tokenizer import CONTEXT

MODEL = "judge"
MASS = 0.98  # probability of all labels together
START = 300.0  # seconds; reached only by what hangs
ROOT = Path(__file__).parents[2]


class Judge(Mortal):
    """The server; it can be killed, frozen and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the tokenizer."""
        self.folder = folder
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "tests.faults.judge", str(self.port), str(self.folder)]
        self._process = subprocess.Popen(command, cwd=ROOT)
        until(self._answers, START)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "the judge has ended"
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=START):
                return True
        except OSError:
            return False


def said(prompt: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """The labels' log probabilities after a prompt."""
    shares = [1 + byte for byte in hashlib.sha256(array("I", prompt).tobytes()).digest()[: len(labels)]]
    scale = MASS / sum(shares)
    return {f"token_id:{label}": math.log(scale * share) for label, share in zip(labels, shares, strict=True)}


async def health(_: web.Request) -> web.Response:
    return web.Response()


async def models(_: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": MODEL, "max_model_len": CONTEXT}]})


async def complete(request: web.Request) -> web.Response:
    body = await request.json()
    labels = body["logprob_token_ids"]
    choices = [
        {"index": i, "text": "", "logprobs": {"top_logprobs": [said(prompt, labels)]}}
        for i, prompt in enumerate(body["prompt"])
    ]
    return web.json_response({"choices": choices})


def main() -> None:
    """Serve until killed."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    async def tokenize(request: web.Request) -> web.Response:
        text = (await request.json())["prompt"]
        return web.json_response({"tokens": tokenizer.encode(text, add_special_tokens=False).ids})

    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.get("/health", health), web.get("/v1/models", models)])
    app.add_routes([web.post("/tokenize", tokenize), web.post("/v1/completions", complete)])
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()

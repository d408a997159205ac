"""Tiny models, a real engine in this process and real servers: made when a test first asks for one."""

import asyncio
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbr_service.graders.openai_http import HTTPEngine
from rbr_service.graders.vllm import VLLMEngine

from . import models
from .servers import ENVIRONMENT, Server

CONTEXT = 16384  # tokens
NAME = "grader"  # what the server calls the language model
PROBE = "Grüße,  世界! 🙂\n\n\t12345 <tag> é\n"


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(ENVIRONMENT)
    os.environ["OMP_NUM_THREADS"] = "1"  # in models as small as these, threads only wait for each other
    # Third parties' own affairs; what the project's code warns of stays an error.
    for ignored in (
        "ignore:.*SwigPy.*:DeprecationWarning",
        "ignore:.*swigvarlink.*:DeprecationWarning",
        "ignore::DeprecationWarning:torch.*",
        "ignore::FutureWarning:torch.*",
        "ignore::UserWarning:torch.*",
        "ignore::DeprecationWarning:transformers.*",
        "ignore::DeprecationWarning:vllm.*",
    ):
        config.addinivalue_line("filterwarnings", ignored)
    # vLLM leaves the context of its sockets to the garbage collector, which may come after the last test.
    config.addinivalue_line("filterwarnings", "ignore:Unclosed context <zmq:ResourceWarning")
    warnings.filterwarnings("ignore", "Unclosed context <zmq", ResourceWarning)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def language_model(folder: Path) -> Path:
    """Yes and no are improbable next tokens of it."""
    return models.language_model(folder / "language")


@pytest.fixture(scope="session")
def answering_model(folder: Path) -> Path:
    """Yes and no are what it says."""
    return models.language_model(folder / "answering", answering=True)


@pytest.fixture(scope="session")
def reward_model(folder: Path) -> Path:
    return models.reward_model(folder / "reward")


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    """The event loop that the session's engine lives in."""
    with asyncio.Runner() as runner:
        yield runner


def in_process(model: Path, concurrency: int = 8) -> VLLMEngine:
    """An engine in this process, not started."""
    args = {"max_model_len": CONTEXT, "enforce_eager": True}
    return VLLMEngine(str(model), precision="float32", concurrency=concurrency, args=args)


@pytest.fixture(scope="session")
def engine(language_model: Path, loop: asyncio.Runner) -> Iterator[VLLMEngine]:
    """The language model in this process; its calls run in `loop`."""
    made = in_process(language_model)
    try:
        loop.run(made.start())
        yield made
    finally:
        loop.run(made.close())


@pytest.fixture(scope="session")
def server(language_model: Path, folder: Path) -> Iterator[Server]:
    """The language model on a server, under NAME."""
    options = ("--served-model-name", NAME, "--max-model-len", str(CONTEXT))
    with Server(language_model, folder / "server.log", *options) as running:
        yield running.ready()


@pytest.fixture(scope="session")
def reward_server(reward_model: Path, folder: Path) -> Iterator[Server]:
    """The reward model on a pooling server; it is served under its folder's path."""
    options = ("--runner", "pooling", "--max-model-len", str(CONTEXT))
    with Server(reward_model, folder / "reward.log", *options) as running:
        yield running.ready()


def over_http(server: Server, concurrency: int = 8, patience: float = 120.0) -> HTTPEngine:
    """An engine on a server, not started."""
    probe = (PROBE, tuple(models.tokenizer().encode(PROBE).ids))
    return HTTPEngine(
        server.url, NAME, probe=probe, precision="float32", concurrency=concurrency, patience=patience,
        start_patience=30,
    )  # fmt: skip

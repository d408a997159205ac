"""A scene for each test, OpenRLHF's own client, and what the page says is lost."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import openrlhf
from tests.contract.openrlhf import OpenRLHF
from tests.tokenizer import save_tokenizer

from .judge import Judge
from .page import ROOT, rows
from .scene import Scene


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("RBR_")]:
        del os.environ[name]
    # Every sample in flight is a connection, and the usual soft limit is 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def client() -> OpenRLHF:
    path = openrlhf.folder(ROOT)
    if not (path / "openrlhf/utils/agent.py").is_file():
        pytest.fail(f"OpenRLHF {openrlhf.VERSION} is not unpacked at {path}: run `make test-faults`")
    return openrlhf.load(path)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return folder


@pytest.fixture
def judge(tokenizer: Path) -> Iterator[Judge]:
    with Judge(tokenizer) as running:
        yield running


@pytest.fixture
def scene(tmp_path: Path, judge: Judge, client: OpenRLHF) -> Scene:
    return Scene(tmp_path, judge, client)


@pytest.fixture
def lost(request: pytest.FixtureRequest) -> str:
    """What the page says is lost by the fault that this test makes."""
    test = f"{request.path.relative_to(ROOT)}::{request.node.name}"
    (found,) = [row.lost for row in rows() if row.test == test]
    return found

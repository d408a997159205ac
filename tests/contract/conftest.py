"""The unpacked OpenRLHF client, and services to call."""

from collections.abc import Iterator

import pytest

from . import openrlhf
from .openrlhf import OpenRLHF
from .serving import ROOT, Service, running

KEY = "a-key-of-this-test"


@pytest.fixture(scope="session")
def trainer() -> OpenRLHF:
    path = openrlhf.folder(ROOT)
    if not (path / "openrlhf/utils/agent.py").is_file():
        pytest.fail(
            f"OpenRLHF {openrlhf.VERSION} is not unpacked at {path}: run `make test-trainer`, or set "
            f"{openrlhf.VARIABLE} to the folder that holds it"
        )
    return openrlhf.load(path)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Also judges empty completions, which an untrained policy writes."""
    with running(tmp_path_factory.mktemp("service"), RBR_EMPTY_COMPLETION="grade") as started:
        yield started


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Demands KEY."""
    with running(tmp_path_factory.mktemp("service"), RBR_API_KEY=KEY) as started:
        yield started


@pytest.fixture(scope="session")
def adding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Adds the base reward that each label brings."""
    with running(tmp_path_factory.mktemp("service"), RBR_BASE_REWARD="given") as started:
        yield started


@pytest.fixture
def asking(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service, named by the environment as the only one to ask."""
    for name in ("RBR_API_KEY", "RBR_REWARD_PATIENCE", "RBR_REWARD_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RBR_REWARD_URL", service.url)
    return service

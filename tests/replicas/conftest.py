"""A Ray cluster with Serve's proxy on loopback; its nodes have settings of their own in their environment."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.contract import openrlhf
from tests.contract.openrlhf import OpenRLHF
from tests.contract.serving import ROOT

KEY = "a-key-of-this-cluster"
NAME = "rewards-under-test"


def pytest_configure(config: pytest.Config) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    for name in [name for name in os.environ if name.startswith("RBR_")]:
        del os.environ[name]
    # Third parties' own affairs; what the project's code warns of stays an error.
    for module in ("ray", "google", "opentelemetry", "pydantic"):
        config.addinivalue_line("filterwarnings", f"ignore:::{module}")
    config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")
    config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="session")
def trainer() -> OpenRLHF:
    path = openrlhf.folder(ROOT)
    if not (path / "openrlhf/utils/agent.py").is_file():
        pytest.fail(f"OpenRLHF {openrlhf.VERSION} is not unpacked at {path}: run `make test-ray`")
    return openrlhf.load(path)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Its address as stock OpenRLHF is given it, key included. Its nodes' RBR_POLICY is another one."""
    import ray  # here, as it warns of its own affairs: pytest_configure has to come first
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with pytest.MonkeyPatch.context() as node:
        node.setenv("RBR_API_KEY", KEY)
        node.setenv("RBR_POLICY", "assistant_style")
        # logical CPUs: two replicas, two more while one version takes the other's place, and Serve's own
        ray.init(address="local", num_cpus=8, include_dashboard=False, object_store_memory=100 << 20)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://trainer:{KEY}@127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Deploys two replicas of the application, or of another version of it, and waits until they serve."""
    from ray import serve

    from rbr_service.replicas import application

    monkeypatch.setenv("RBR_API_KEY", KEY)

    def deployed(**arguments: str) -> None:
        rewards = application(arguments)._bound_deployment
        serve.run(rewards.options(num_replicas=2, autoscaling_config=None).bind(), name=NAME)

    yield deployed
    serve.delete(NAME)

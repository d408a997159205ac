"""Shared pieces: the shipped policy with weights, and an app over any grader."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import settings

from rbr_service.app import create_app
from rbr_service.build import make_scorer, rules_folder
from rbr_service.graders.base import Grader
from rbr_service.graders.fixed import FixedGrader
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import Policy, load
from rbr_service.settings import Settings
from rbr_service.state import State

MakeState = Callable[..., State]

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture(scope="session")
def safety() -> Policy:
    """The shipped safety policy."""
    return load(rules_folder() / "safety.yaml")


@pytest.fixture
def make_state() -> MakeState:
    """Builds a service state: `make_state(grader, **settings)`; weights are accepted as they are."""

    def make(grader: Grader | None = None, **settings: Any) -> State:
        trial = {"accept_mismatch": True} if grader else {}
        chosen = Settings(**{**trial, **settings})
        metrics = Metrics()
        return State(chosen, metrics, make_scorer(chosen, metrics, grader))

    return make


@pytest.fixture
def client(make_state: MakeState) -> Iterator[TestClient]:
    """The real app with the real lexical grader and shipped weights."""
    with TestClient(create_app(make_state()), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def fixed_client(make_state: MakeState) -> Iterator[TestClient]:
    """The real app over a grader that answers from a table."""
    with TestClient(create_app(make_state(FixedGrader())), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def repository() -> Path:
    """The checkout's root."""
    return Path(__file__).resolve().parents[1]

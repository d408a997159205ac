"""What is deployed: its settings, its secrets, its health; and the shipped Serve config."""

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray import cloudpickle
from ray.serve.schema import ServeDeploySchema

from rbr_service.errors import GraderDeadError, SettingsError
from rbr_service.replicas import application, replica
from rbr_service.settings import Settings
from tests.contract.serving import ROOT

KEY = "a-key-of-this-test"


def deployed(**arguments: str) -> Any:
    """The deployment."""
    return application(arguments)._bound_deployment


def started(deployment: Any) -> Any:
    """An instance, as Serve makes one in a replica."""
    made = deployment.func_or_class.__new__(deployment.func_or_class)
    asyncio.run(made.__init__())
    return made


def test_settings_are_those_it_was_built_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("max_samples: 7")
    monkeypatch.setenv("RBR_POLICY", "assistant_style")
    built = deployed(config=str(config))
    monkeypatch.setenv("RBR_POLICY", "safety")
    settings = started(built).app.state.service.settings
    assert (settings.policy, settings.max_samples) == ("assistant_style", 7)


def test_what_cannot_serve_is_refused_before_it_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="args: policy: only config=FILE"):
        application({"policy": "safety"})
    monkeypatch.setenv("RBR_GRADER", "openai")
    with pytest.raises(SettingsError, match="grader_model"):
        application({})


def test_a_reload_would_reach_one_replica_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBR_ADMIN_KEY", KEY)
    with pytest.raises(SettingsError, match="RBR_ADMIN_KEY"):
        application({})


def test_secrets_come_from_the_nodes_environment() -> None:
    app = replica({}, ["api_key"], {"RBR_API_KEY": KEY, "RBR_POLICY": "assistant_style"})
    settings = app.state.service.settings
    assert settings.api_key.get_secret_value() == KEY
    assert settings.policy == "safety"


def test_a_node_without_the_key_does_not_serve_everybody() -> None:
    with pytest.raises(SettingsError, match="RBR_API_KEY: set where the application was built"):
        replica({}, ["api_key"], {"RBR_API_KEY": ""})


def test_no_secret_travels_with_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBR_API_KEY", KEY)
    assert KEY.encode() not in cloudpickle.dumps(deployed().func_or_class)


def test_a_dead_engine_is_a_sick_replica() -> None:
    built = started(deployed())
    asyncio.run(built.check_health())
    built.app.state.service.dead = True
    built.app.state.service.fault = "the engine died"
    with pytest.raises(GraderDeadError, match="the engine died"):
        asyncio.run(built.check_health())


def test_what_is_in_flight_may_end() -> None:
    chosen = deployed()._deployment_config
    assert chosen.graceful_shutdown_timeout_s == 190 >= Settings().grader_deadline
    assert chosen.autoscaling_config.target_ongoing_requests == Settings().grader_concurrency
    assert chosen.max_ongoing_requests >= 1024 * 8
    assert chosen.max_queued_requests == -1


def test_the_shipped_config() -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text()))
    assert config.http_options.host == "127.0.0.1"
    (app,) = config.applications
    module, name = app.import_path.split(":")
    assert getattr(importlib.import_module(module), name) is application
    (options,) = app.deployments
    chosen = deployed()
    assert options.name == chosen.name
    assert options.autoscaling_config["target_ongoing_requests"] == Settings().grader_concurrency

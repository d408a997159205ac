"""The service as replicas on a Ray cluster: `serve run rbr_service.replicas:application`.

    settings, read once -> Serve starts replicas -> each builds the same app over a scorer of its own

Every replica gets the settings that the application was built with, whatever its node's environment says;
only secrets come from there. Serve takes the place of server.py: it listens, spreads the requests, drains
a replica before it ends and replaces one that died.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve

from rbr_service.app import create_app
from rbr_service.build import make_log, make_scorer
from rbr_service.errors import GraderDeadError, SettingsError
from rbr_service.metrics import Metrics
from rbr_service.settings import PREFIX, SECRETS, load
from rbr_service.state import State

# A rollout step of 1,024 prompts x 8 samples, all on one replica. What waited in Serve's own queue would
# not have its deadline running yet, and the trainer's would.
MOST_REQUESTS = 8192


def application(arguments: Mapping[str, str]) -> serve.Application:
    """What `serve run` and a Serve config call: settings from RBR_* and the file `arguments` names as config.

    Serve may be told other numbers of replicas, GPUs and so on in its config. Raises SettingsError.
    """
    unknown = sorted(arguments.keys() - {"config"})
    if unknown:
        raise SettingsError(
            f"args: {unknown[0]}: only config=FILE is known here; settings: RBR_* or that file"
        )
    settings = load({}, Path(arguments["config"]) if "config" in arguments else None)
    given = settings.model_dump(exclude=set(SECRETS), exclude_unset=True)
    secrets = [name for name in SECRETS if getattr(settings, name)]
    if "admin_key" in secrets:
        raise SettingsError(
            "RBR_ADMIN_KEY: a reload would reach one of the replicas: deploy the new policy instead"
        )

    def app() -> FastAPI:
        return replica(given, secrets)

    @serve.ingress(app)
    class RewardService:
        async def check_health(self) -> None:
            """As /healthz: raises GraderDeadError once only a new replica helps."""
            state: State = self.app.state.service  # type: ignore[attr-defined]  # by serve.ingress
            if state.dead:
                raise GraderDeadError(state.fault)

    return serve.deployment(
        name="rewards",
        max_ongoing_requests=MOST_REQUESTS,
        autoscaling_config={
            "min_replicas": 2,
            "max_replicas": 8,
            "target_ongoing_requests": settings.grader_concurrency,  # more would wait for the grader
        },
        graceful_shutdown_timeout_s=settings.shutdown_grace,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        logging_config={"enable_access_log": False},
        ray_actor_options={"num_gpus": 1 if settings.grader == "vllm" else 0},
    )(RewardService).bind()


def replica(given: Mapping[str, Any], secrets: list[str], environ: Mapping[str, str] = os.environ) -> FastAPI:
    """One replica's app, its state in `app.state.service`. Raises StartupError.

    `given`: the settings without their secrets; `secrets`: names of those that were set beside them.
    """
    names = {name: f"{PREFIX}{name.upper()}" for name in secrets}
    for name in names.values():
        if not environ.get(name):
            raise SettingsError(
                f"{name}: set where the application was built, but not for this replica: put it into the "
                "environment of every Ray node"
            )
    settings = load(given, None, {name: environ[name] for name in names.values()})
    metrics = Metrics()
    scorer = make_scorer(settings, metrics, serving=True)
    state = State(settings, metrics, scorer, log=make_log(settings, metrics))
    app = create_app(state)
    app.state.service = state
    return app

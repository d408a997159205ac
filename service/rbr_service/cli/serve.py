"""`rbr serve`: the HTTP reward service."""

from pathlib import Path
from typing import Any

import click

from rbr_service.app import create_app
from rbr_service.build import make_log, make_scorer
from rbr_service.cli.options import read, settings_options
from rbr_service.errors import SettingsError
from rbr_service.metrics import Metrics
from rbr_service.server import serve as run
from rbr_service.settings import Settings
from rbr_service.state import State


@click.command()
@settings_options(Settings.model_fields)
def serve(config: Path | None, **flags: Any) -> None:
    """Serve rewards over HTTP until SIGTERM.

    Every option may also stand in the --config file (policy: safety) or in the environment
    (RBR_POLICY=safety). From the environment only: RBR_API_KEY demands that key of callers,
    RBR_ADMIN_KEY lets those with that key change the policy while it serves: POST
    /v1/policy/reload. SIGHUP reads the configured policy and its weights again.

    \b
    Endpoints: / (the page, for a browser), /score and /get_reward (OpenRLHF), /slime,
               /v1/score, /v1/explain, /v1/read, /v1/policy, /v1/policy/reload,
               /v1/live, /v1/session, /healthz, /readyz, /metrics, /docs
    """  # noqa: D301 - click's mark: keep these lines as they are
    settings = read(config, flags)
    metrics = Metrics()
    scorer = make_scorer(settings, metrics, serving=True)
    if scorer.grader.note:
        click.echo(f"rbr: note: {scorer.grader.note}", err=True)
    for mismatch in scorer.model.mismatches:
        click.echo(f"rbr: accepted for a trial: {mismatch}", err=True)
    state = State(settings, metrics, scorer, log=make_log(settings, metrics))
    try:
        run(create_app(state), settings, state)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error

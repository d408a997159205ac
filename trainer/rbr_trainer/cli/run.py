"""`rbr-train run`: from one file to a running OpenRLHF.

    run.yaml -> RunConfig -> Plan -> preflight -> Command -> OpenRLHF in this process's place

What starts is OpenRLHF itself: this process becomes it, so that signals, output and exit code are its own.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from rbr_trainer.cli.options import address
from rbr_trainer.data.rows import count
from rbr_trainer.errors import InputError, TrainerError
from rbr_trainer.preflight import Plan, examine, table
from rbr_trainer.runs.command import Command, command
from rbr_trainer.runs.config import PRESETS, RunConfig
from rbr_trainer.runs.misfits.prompts import here
from rbr_trainer.runs.runfile import example, read
from rbr_trainer.runs.secrets import KEY, WANDB
from rbr_trainer.service import Range

OPENRLHF = "0.11.2"


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option(
    "--dry-run", is_flag=True, help="Check CONFIG, print the command that would run, start nothing."
)
@click.option(
    "--check/--no-check", default=True, help="Ask service, prompts and model first.  [default: check]"
)
@click.option("--example", "shown", type=click.Choice(PRESETS), help="Print a CONFIG to start from, and end.")
def run(config: Path | None, dry_run: bool, check: bool, shown: str | None) -> None:
    """Train with OpenRLHF 0.11.2 as CONFIG says, a YAML file.

    \b
      rbr-train run --example one-gpu > run.yaml   every key, with its meaning
      rbr-train run run.yaml --dry-run             is it sound? what would run?
      rbr-train run run.yaml                       check the service, then train

    CONFIG names a preset (one-gpu, eight-gpus, several-nodes) and overrides its keys one by one. A key that
    is not known, or keys that contradict each other, are refused with their line before anything starts:
    also what OpenRLHF itself would let through as a run that learns nothing.

    Secrets come from the environment alone: RBR_API_KEY, WANDB_API_KEY, HF_TOKEN. What is printed names
    them only. With reward.client agent, OpenRLHF's workers need RBR_API_KEY and the RBR_REWARD_* that a
    dry run prints. A run in place starts a Ray of its own, whose workers inherit them. Workers of a
    cluster that runs already do not: set ray.address, and the job carries them, for whoever may see the
    cluster's jobs to read. Interrupting a submitted run ends its log here; `ray job stop` ends the run.

    \b
    Exit codes:
      0  trained, or the dry run is sound
      1  the check failed, or OpenRLHF is not installed
      2  bad usage, or CONFIG is refused
      else OpenRLHF's own
    """  # noqa: D301 - click's mark: keep these lines as they are
    if shown:
        click.echo(example(shown), nl=False)
        return
    if config is None:
        raise click.UsageError("name a CONFIG file; --example prints one to start from")
    asked = read(config)
    if dry_run:
        click.echo(command(asked, os.environ, "python").printed())
        return
    made = command(asked, os.environ, sys.executable)
    _startable(asked, os.environ)
    if check:
        _checked(plan(asked, os.environ))
    _become(made, os.environ)


def plan(config: RunConfig, environ: Mapping[str, str]) -> Plan:
    """What the run will ask of the service, at its most. What lies on a cluster alone is left out."""
    here_too = not config.ray.address or Path(config.model.policy).is_dir()
    return Plan(
        addresses=tuple(address(url, "reward.urls", KEY, environ) for url in config.reward.urls),
        clip=Range(*config.reward.clip),
        reward_version=None if config.reward.version == "any" else config.reward.version,
        client=config.reward.client,
        dataset=here(config.data.prompts),
        evaluation=here(config.data.evaluation) if config.data.evaluation else None,
        label_key=config.data.label_key,
        input_key=config.data.input_key,
        model=config.model.policy if here_too else None,
        apply_chat_template=config.data.apply_chat_template,
        concurrency=_concurrency(config),
        input_template=config.extra.get("data.input_template"),
    )


def _concurrency(config: RunConfig) -> int:
    """Completions in flight at once: OpenRLHF evaluates by as many prompts as it rolls out."""
    held_out, size = config.data.evaluation, config.sizes.rollout_batch
    trained = int(config.extra.get("rollout.vllm_generate_batch_size", size))
    most = trained * config.algorithm.samples_per_prompt
    if held_out is None:
        return most
    file = here(held_out)
    return max(most, (min(size, count(file)) if file else size) * config.data.evaluation_samples)


def _startable(config: RunConfig, environ: Mapping[str, str]) -> None:
    """Raises TrainerError for what this machine or its environment lacks."""
    if config.output.wandb and not environ.get(WANDB):
        raise InputError(f"output.wandb: set {WANDB} in the environment, or remove the key")
    if config.ray.address:
        if not shutil.which("ray", path=_path(environ)):
            raise TrainerError('there is no `ray` command to submit with: pip install "ray[default]==2.55.0"')
        return
    _installed()
    if config.reward.client == "agent" and (cluster := _cluster(environ)):
        raise InputError(
            f"ray.address: {cluster} names a Ray cluster that runs already, whose workers would not get the "
            "reward service's address from here: set it to the cluster's job server (http://HEAD:8265), or "
            "stop that cluster (ray stop)"
        )


def _installed() -> None:
    if find_spec("openrlhf") is None:
        raise TrainerError(
            f"OpenRLHF is not installed beside {sys.executable}: pip install "
            f'"openrlhf[vllm]=={OPENRLHF}" there, and rule-based-rewards with it'
        )
    with suppress(PackageNotFoundError):
        if (found := version("openrlhf")) != OPENRLHF:
            raise TrainerError(
                f"OpenRLHF {found} is installed, and flags of other versions may mean something else: "
                f'pip install "openrlhf[vllm]=={OPENRLHF}"'
            )


def _cluster(environ: Mapping[str, str]) -> str:
    """What makes Ray join a cluster instead of starting one; "" where nothing does."""
    started = Path(environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    return "RAY_ADDRESS" if environ.get("RAY_ADDRESS") else str(started) if started.exists() else ""


def _checked(asked: Plan) -> None:
    """Raises TrainerError where a check stands against the run."""
    findings = asyncio.run(examine(asked))
    click.echo("\n".join(table(findings)), err=True)
    if all(finding.passed for finding in findings):
        return
    faults = [finding.fault for finding in findings if finding.fault]
    raise TrainerError("\n".join([*faults, "nothing was started; --no-check starts all the same"]))


def _become(made: Command, environ: Mapping[str, str]) -> NoReturn:
    argv, path = made.argv(environ), _path(environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(shutil.which(argv[0], path=path) or argv[0], argv, {**environ, **made.environment})


def _path(environ: Mapping[str, str]) -> str:
    """Commands of this Python's environment first, whether it is activated or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])

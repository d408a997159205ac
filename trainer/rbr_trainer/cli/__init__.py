"""`rbr-train`: what surrounds a training run.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

import sys

import click

from rbr_trainer.cli.check import check
from rbr_trainer.cli.evaluate import evaluate
from rbr_trainer.cli.prepare import prepare
from rbr_trainer.cli.run import run
from rbr_trainer.errors import TrainerError


class Commands(click.Group):
    """Turns what is wrong into lines and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TrainerError as error:
            for line in str(error).splitlines():
                click.echo(f"rbr-train: {line}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rule-based-rewards")
def main() -> None:
    """Train with OpenRLHF against the reward service.

    \b
    Before a run:
      rbr-train prepare prompts.jsonl --policy my/safety.yaml -o train.jsonl
                                              a trainer's dataset: labelled, mixed, some of it held out
      rbr-train check http://127.0.0.1:8000 --dataset train.jsonl --model MODEL
                                              what would spoil the run: service, labels, template, load
    The run:
      rbr-train run --example one-gpu > run.yaml; rbr-train run run.yaml
    Of a checkpoint:
      rbr-train evaluate train.heldout.jsonl --model ckpt --service http://127.0.0.1:8000
                                              how often it is unsafe, how often it refuses too much
    """  # noqa: D301 - click's mark: keep these lines as they are


for command in (check, evaluate, prepare, run):
    main.add_command(command)

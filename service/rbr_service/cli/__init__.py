"""`rbr`: one command for each thing that is done with a policy, a file each.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

import sys

import click

from rbr_service.cli.ablate import ablate
from rbr_service.cli.agreement import compare
from rbr_service.cli.bench import bench
from rbr_service.cli.calibrate import calibrate
from rbr_service.cli.evaluate import evaluate
from rbr_service.cli.fit import fit
from rbr_service.cli.label import label
from rbr_service.cli.policy import policy
from rbr_service.cli.rank import rank
from rbr_service.cli.rescore import rescore
from rbr_service.cli.score import score
from rbr_service.cli.serve import serve
from rbr_service.cli.synthesize import synthesize
from rbr_service.errors import RBRError, RequestError, StartupError


class Commands(click.Group):
    """Turns the project's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except RBRError as error:
            click.echo(f"rbr: {error.message}", err=True)
            sys.exit(2 if isinstance(error, (StartupError, RequestError)) else 1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rule-based-rewards")
def main() -> None:
    """Rule Based Rewards: a written policy as a reward for reinforcement learning.

    \b
    First steps:
      rbr policy check safety          is the policy sound?
      rbr serve                        the reward endpoint, on http://127.0.0.1:8000
      rbr bench http://127.0.0.1:8000  that endpoint under a trainer's load
      rbr score in.jsonl -o out.jsonl  the same rewards, for a file
      rbr label in.jsonl -o gold.jsonl your own yes and no
      rbr evaluate --gold gold.jsonl   how good is the grader?
      rbr calibrate --gold gold.jsonl  make its probabilities mean what they say
      rbr synthesize -o ranked.jsonl   ranked completions, written to order
      rbr fit --data ranked.jsonl -o weights.json
                                       weights from ranked completions
      rbr ablate --data ranked.jsonl   what each part of the reward is worth
      rbr rescore log --policy new.yaml
                                       what a changed rule would have done to past rewards
    """  # noqa: D301 - click's mark: keep these lines as they are


for command in (
    serve, score, rescore, label, compare, evaluate, calibrate, fit, rank, ablate, policy, synthesize,
    bench,
):  # fmt: skip
    main.add_command(command)

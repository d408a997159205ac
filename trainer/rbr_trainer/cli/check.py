"""`rbr-train check`: what would spoil a run, told before it starts.

URLs, what the run will be -> preflight -> a table, and the faults that end it with exit code 1
"""

import asyncio
from pathlib import Path
from typing import Any

import click

from rbr_trainer.cli.options import address
from rbr_trainer.errors import TrainerError
from rbr_trainer.preflight import Plan, examine, table
from rbr_trainer.preflight.replicas import PREFIX
from rbr_trainer.service import Range


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option(
    "--clip-range", "clip", nargs=2, type=float, metavar="LOW HIGH", default=(-10.0, 10.0), show_default=True,
    help="The run's --reward.clip_range; the default is OpenRLHF's own.",
)  # fmt: skip
@click.option(
    "--reward-version", metavar="HASH",
    help=f"The wanted reward version, or its first {PREFIX} characters or more.",
)  # fmt: skip
@click.option(
    "--dataset",
    type=click.Path(exists=True, path_type=Path),
    help="The prompts: JSONL, Parquet or saved to disk.",
)
@click.option(
    "--evaluation",
    type=click.Path(exists=True, path_type=Path),
    help="The prompts of its --eval.dataset: a label there that does not resolve ends the run as well.",
)
@click.option("--input-key", default="messages", show_default=True, help="Its column of prompts.")
@click.option("--label-key", default="label", show_default=True, help="Its column of labels.")
@click.option(
    "--model", help="The policy model, a folder or hub name: its tokenizer and chat template are tried."
)
@click.option("--plain-text", is_flag=True, help="Prompts are texts: the run applies no chat template.")
@click.option(
    "--client", type=click.Choice(["agent", "plain"]), default="plain", show_default=True,
    help="Who will send samples: this package's agent, or OpenRLHF's own client.",
)  # fmt: skip
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=64, show_default=True,
    help="Completions that the run will have in flight at once.",
)  # fmt: skip
def check(urls: tuple[str, ...], clip: tuple[float, float], plain_text: bool, **given: Any) -> None:
    """Ask the reward service at URL whether a run can start. Several URLs are replicas of one service.

    URL is the service's, or what --reward.remote_url will be. A key that it demands comes from the
    environment, RBR_API_KEY, or in the URL.

    The service has to be ready, with the wanted reward version, and to score a sample of each response
    type. With --dataset every row's label has to resolve, and so with --evaluation. With --model too, its
    prompts are written, answered and decoded as OpenRLHF does, and must earn as text what they earn as
    messages. As many samples as the run will have in flight are sent at once, and must be answered in time.
    What ends a run in the middle is tried: a completion that ends at once, one cut short while it reasons,
    one that the grader will not judge. Rewards must not reach beyond the clip range. The clip falls on the
    reward itself with OpenRLHF's estimators gae and reinforce; the others first subtract what a prompt's
    completions share.

    \b
    Exit codes:
      0  nothing that was looked at stands against the run
      1  something does; the table says what, and stderr what to do
      2  bad usage
    """  # noqa: D301 - click's mark: keep these lines as they are
    wanted, version = Range(*clip), given["reward_version"]
    if not wanted.low < wanted.high:
        raise click.BadParameter("LOW must be less than HIGH", param_hint="--clip-range")
    if version is not None and len(version) < PREFIX:
        raise click.BadParameter(f"give {PREFIX} characters or more", param_hint="--reward-version")
    addresses = tuple(address(url, "URL", "RBR_API_KEY") for url in urls)
    plan = Plan(addresses, wanted, apply_chat_template=not plain_text, **given)
    findings = asyncio.run(examine(plan))
    click.echo("\n".join(table(findings)))
    if not all(finding.passed for finding in findings):
        raise TrainerError("\n".join(filter(None, (finding.fault for finding in findings))))

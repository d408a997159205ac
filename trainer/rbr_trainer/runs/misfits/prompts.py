"""Prompts that a run cannot use, or not evenly."""

from collections.abc import Iterator
from pathlib import Path

from rbr_trainer.data.rows import count
from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.misfits.batches import rollout_share
from rbr_trainer.runs.misfits.misfit import Misfit

FILES = (".json", ".jsonl", ".csv", ".parquet", ".arrow")  # what OpenRLHF takes for a file, by its name
LINES = (".jsonl", ".parquet")  # of these, files whose rows are told apart without a guess


def found(c: RunConfig) -> Iterator[Misfit]:
    """See `misfits`."""
    d = c.data
    yield from _source(c, "data.prompts", d.prompts, "data.split", d.split)
    if d.evaluation:
        yield from _source(c, "data.evaluation", d.evaluation, "data.evaluation_split", d.evaluation_split)
    if d.evaluation and not d.evaluate_every:
        yield Misfit.of("data.evaluation", "is never used so: set data.evaluate_every, in rollouts")
    if d.evaluate_every and not d.evaluation:
        yield Misfit.of(
            "data.evaluate_every", "has nothing to evaluate on: set data.evaluation, or remove it"
        )
    yield from _template(c)
    if file := here(d.prompts):
        rows = count(file)
        yield from _uneven(c, min(rows, d.max_samples or rows))


def _source(c: RunConfig, key: str, name: str, split_key: str, split: str) -> Iterator[Misfit]:
    is_file = name.endswith(FILES)
    if "," in name:
        yield Misfit.of(key, "OpenRLHF takes commas for several datasets: put them into one file")
    elif is_file and "@" in name:
        yield Misfit.of(key, "OpenRLHF takes what follows an @ for a folder of the dataset: rename the file")
    elif is_file and not c.ray.address and not Path(name).is_file():
        yield Misfit.of(key, f"{name} is no file here: mend the path (`rbr-train prepare` makes such files)")
    if is_file and split != "train":
        yield Misfit.of(split_key, f"a file has the one split train, no {split}: remove the key")


def _template(c: RunConfig) -> Iterator[Misfit]:
    """Python's str.format fills it, for OpenRLHF and for the check of the prompts."""
    template = c.extra.get("data.input_template", "{}")
    try:
        is_filled = "{}" in template and "a prompt" in template.format("a prompt")
    except (TypeError, AttributeError, LookupError, ValueError):
        is_filled = False
    if not is_filled:
        yield Misfit(
            (("extra", "data.input_template"),),
            "must be text with one {}, where the prompt goes; other braces are written twice, {{ and }}",
        )


def here(name: str) -> Path | None:
    """The prompts of that name, where they are a file or saved dataset on this machine that can be read."""
    path = Path(name)
    is_read = path.is_file() if name.endswith(LINES) else (path / "state.json").is_file()
    return path if is_read else None


def _uneven(c: RunConfig, rows: int) -> Iterator[Misfit]:
    """An episode's last rollout takes the prompts that are left; it has to be as sound as the others."""
    batch = c.sizes.rollout_batch
    rest = rows % batch
    if rows < batch:
        yield Misfit.of(
            "sizes.rollout_batch data.prompts",
            f"there are {rows} prompts, fewer than a rollout_batch of {batch}: set a smaller "
            "sizes.rollout_batch, or bring more prompts",
        )
    elif rest * c.algorithm.samples_per_prompt % rollout_share(c):
        yield Misfit.of(
            "data.max_samples data.prompts",
            f"of {rows} prompts {rest} are left for an episode's last rollout, which then crashes, hangs or "
            f"updates nothing: set data.max_samples: {rows - rest}",
        )

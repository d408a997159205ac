"""Run files for tests: a sound one, and changes to it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rbr_trainer.errors import InputError
from rbr_trainer.runs.config import RunConfig
from rbr_trainer.runs.document import parse
from rbr_trainer.runs.runfile import shaped

VERSION = "ab" * 32
SOUND: dict[str, Any] = {
    "preset": "one-gpu",
    "model": {"policy": "some/model"},
    "data": {"prompts": "some/prompts"},
    "reward": {"urls": ["http://127.0.0.1:8000"], "version": VERSION},
}


def text(changes: dict[str, Any] | None = None) -> str:
    """YAML of the sound run with changes, by dotted keys: {"sizes.train_batch": 8}."""
    content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SOUND))
    for key, value in (changes or {}).items():
        *groups, last = key.split(".", 1) if key.startswith("extra.") else key.split(".")
        place = content
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    """The run of `text`. Raises InputError."""
    return shaped(parse(text(changes), "run.yaml"))


def written(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """The file of `text`."""
    file = folder / "run.yaml"
    file.write_text(text(changes), encoding="utf-8")
    return file


def refused(changes: dict[str, Any]) -> list[str]:
    """What is told of the run of these changes."""
    with pytest.raises(InputError) as caught:
        config(changes)
    return str(caught.value).splitlines()


def line_of(changes: dict[str, Any], key: str) -> int:
    """Where the last word of a key stands in `text`."""
    word = key.removeprefix("extra.") if key.startswith("extra.") else key.split(".")[-1]
    lines = text(changes).splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.strip().startswith(f"{word}:"))

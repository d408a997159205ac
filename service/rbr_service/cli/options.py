"""Command-line options made from the settings, so that each is declared once."""

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar, get_args, get_origin

import click
from pydantic import DirectoryPath

from rbr_service import settings
from rbr_service.backends import beside
from rbr_service.build import calibration_path, policy_path
from rbr_service.errors import DataError
from rbr_service.graders.base import Grader
from rbr_service.settings import SECRETS, Settings

F = TypeVar("F", bound=Callable[..., Any])

GRADER = ("grader", "grader_model", "grader_tokenizer", "grader_revision", "grader_precision", "grader_url",
          "grader_context",
          "layout", "on_low_mass", "min_label_mass", "grader_concurrency", "grader_start", "vllm_args",
          "cache", "cache_entries")  # fmt: skip
BASE_REWARD = ("base_reward", "base_reward_url", "base_reward_model", "base_reward_tokenizer")
WRITER = ("writer", "writer_url", "writer_model", "writer_temperature", "writer_max_tokens",
          "writer_concurrency", "writer_patience")  # fmt: skip
SCORING = ("policy", "weights", "calibration", *GRADER, *BASE_REWARD, "accept_mismatch", "strip_reasoning",
           "empty_completion", "max_completion_chars")  # fmt: skip


def settings_options(names: Iterable[str]) -> Callable[[F], F]:
    """Adds --config and one option per setting; the command gets them as keyword arguments."""

    def decorate(command: F) -> F:
        for name in reversed(list(names)):
            if name not in SECRETS:
                command = _option(name)(command)
        config = click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="YAML file of settings; RBR_* variables and flags win over it.",
        )
        return config(command)

    return decorate


def _option(name: str) -> Callable[[F], F]:
    field = Settings.model_fields[name]
    flag = "--" + name.replace("_", "-")
    shown = field.default_factory is None and field.default is not None
    text = f"{field.description}" + (f"  [default: {field.default}]" if shown else "")
    kind: Any = field.annotation
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    if get_origin(kind) is not None and all(isinstance(a, str) for a in get_args(kind)):
        return click.option(flag, name, type=click.Choice(get_args(kind)), help=text)
    return click.option(flag, name, metavar=_metavar(kind), help=text)


def _metavar(kind: Any) -> str:
    kinds = {*get_args(kind)} or {kind}
    metavars = {Path: "FILE", DirectoryPath: "FOLDER", int: "N", float: "NUMBER", dict[str, Any]: "JSON"}
    return next((text for found, text in metavars.items() if found in kinds or found == kind), "TEXT")


def regular(path: Path) -> Path:
    """An input that is read more than once, so that it has to be a file and no pipe. Raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file():
        raise DataError(f"{path}: is no regular file, and is read more than once: save it as one")
    return path


def sources(settings: Settings, config: Path | None, grader: Grader | None = None) -> list[Path | None]:
    """The files behind a command's settings, for `outputs`; with `grader` its calibration's too."""
    path = policy_path(settings.policy)
    kind, _, cache = settings.cache.partition(":")
    return [
        config,
        path,
        beside(path, ".lexical.yaml"),
        Path(settings.layout),
        Path(cache) if kind == "sqlite" else None,
        calibration_path(settings, grader, path) if grader else None,
    ]


def outputs(inputs: Iterable[Path | None], *written: Path | None) -> None:
    """Checks, before any work, that all a command writes can be written and overwrites none of its inputs.

    None stands for what was not given. Raises DataError for a path that is an input's or another output's, by
    whatever name; for a folder, a device or a pipe; and for a folder in which no file can be made.
    """
    taken = {_identity(path): "is an input of this command" for path in inputs if path}
    for path in filter(None, written):
        _writable(path)
        if (same := _identity(path)) in taken:
            raise DataError(f"{path}: {taken[same]}: name another file")
        taken[same] = "is already another output"


def _identity(path: Path) -> object:
    """The same for all names of a file, whether it is there or not."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _writable(path: Path) -> None:
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise DataError(f"{path}: is a folder: name a file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{path}: is a device or a pipe, and results replace what is there: name a file")
    if not os.path.isdir(folder):
        raise DataError(f"{path}: its folder does not exist")
    try:
        TemporaryFile(dir=folder).close()  # what may be written is the file system's to say, not the mode's
    except OSError as error:
        raise DataError(f"{path}: no file can be made in its folder: {error.strerror}") from error


def read(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Settings from a command's arguments. Raises SettingsError."""
    return settings.load(flags, config)


def said(names: Iterable[str]) -> str:
    """Those of the running command's options that stand on its command line, as words for a shell."""
    context = click.get_current_context()
    words: list[str] = []
    for option in context.command.params:
        name = str(option.name)
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if name in names and given:
            value = context.params[name]
            for one in value if option.multiple else [value]:
                words += [option.opts[0], *map(str, one if type(one) is tuple else [one])]
    return shlex.join(words)

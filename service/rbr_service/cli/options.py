"""Command-line options made from the settings, so that each is declared once."""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import click

from rbr_service import settings
from rbr_service.errors import DataError
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
    metavars = {Path: "FILE", int: "N", float: "NUMBER", dict[str, Any]: "JSON"}
    return next((text for found, text in metavars.items() if found in kinds or found == kind), "TEXT")


def writable(output: Path) -> Path:
    """An output path whose folder is there, checked before any work. Raises DataError."""
    if not output.absolute().parent.is_dir():
        raise DataError(f"{output}: its folder does not exist")
    if output.is_dir():
        raise DataError(f"{output}: is a folder: name a file")
    return output


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

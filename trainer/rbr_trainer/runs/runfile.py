"""A run's YAML file.

    run.yaml over its preset (presets/NAME.yaml), key by key -> RunConfig, whose parts fit each other

A key that is not known, a value that cannot be and parts that do not fit are told all at once, each with
file, line, key and what to do.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rbr_trainer.errors import InputError
from rbr_trainer.runs.config import PRESETS, RunConfig
from rbr_trainer.runs.document import Document, Key, Layers, load, parse
from rbr_trainer.runs.misfits import misfits

_SENTENCES = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text (in YAML put quotes around yes, no, on, off and numbers)",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be the 64 hex digits that `rbr-train check URL` prints as reward "
    "version, or `any` to accept a reward that changes under way",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list, [a, b]",
    "too_short": "must have {min_length} entries or more",
    "too_long": "must have {max_length} entries or fewer",
    "dict_type": "must be a mapping, `key: value`",
    "model_type": "must be a mapping, `key: value`",
}


def read(path: Path) -> RunConfig:
    """The run in a file. Raises InputError, with a line for each fault."""
    return shaped(load(path))


def shaped(document: Document) -> RunConfig:
    """As `read`, of a file that is parsed already."""
    name = document.data.get("preset")
    layers = Layers((document, preset(name)) if name in PRESETS else (document,))
    try:
        made = RunConfig.model_validate(layers.data)
    except ValidationError as error:
        faults = [layers.error(fault["loc"], _told(fault, name)) for fault in error.errors(include_url=False)]
        raise InputError("\n".join(faults)) from error
    found = [layers.error(_place(document, misfit.keys), misfit.problem) for misfit in misfits(made)]
    if found:
        raise InputError("\n".join(found))
    return made


def preset(name: str) -> Document:
    """The defaults of that name."""
    return parse(_shipped(name), f"preset {name}")


def example(name: str) -> str:
    """A file to start from, with every key: its head filled in by hand, what the preset says as comments."""
    defaults = "".join(f"# {line}".rstrip() + "\n" for line in _shipped(name).splitlines())
    return _shipped("example").replace("PRESET", name) + defaults


def _shipped(name: str) -> str:
    return (files("rbr_trainer.runs") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def _place(document: Document, keys: Sequence[Key]) -> Key:
    """Of the keys that do not fit, the first that the person wrote."""
    return next((key for key in keys if key in document.lines), keys[0])


def _told(fault: ErrorDetails, name: Any) -> str:
    """What is wrong with a value, to be read after its place."""
    if fault["type"] == "missing":
        return "is missing: add it" + ("" if name in PRESETS else f", or name a preset: {', '.join(PRESETS)}")
    if fault["type"] == "extra_forbidden":
        known = _known(fault["loc"][:-1])
        near = get_close_matches(str(fault["loc"][-1]), known, n=1)
        return "is not known; " + (f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}")
    sentence = _SENTENCES.get(fault["type"])
    return sentence.format(**fault.get("ctx", {})) if sentence else fault["msg"].removeprefix("Value error, ")


def _known(path: Sequence[str | int]) -> list[str]:
    """The keys that may stand under a path of groups."""
    part: type[BaseModel] = RunConfig
    for name in path:
        annotation: Any = part.model_fields[str(name)].annotation
        part = next(kind for kind in (annotation, *get_args(annotation)) if issubclass(kind, BaseModel))
    return list(part.model_fields)

"""A YAML file as plain data plus the line every key stands on.

path -> Document(data, lines) -> Layers: a file over its defaults -> Layers.error says file, line, key
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rbr_trainer.errors import InputError

Key = tuple[str | int, ...]

# YAML 1.1 demands a point: to PyYAML alone, 1e-6 is text.
NUMBER = r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+"


@dataclass(frozen=True)
class Document:
    """A parsed mapping. `lines`: key path -> its line, from 1. `name`: what messages call it."""

    name: str
    data: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layers:
    """Documents, the first over the second and so on, key by key."""

    documents: tuple[Document, ...]

    @property
    def data(self) -> dict[str, Any]:
        """Their content as one mapping."""
        merged: dict[str, Any] = {}
        for document in reversed(self.documents):
            merged = _over(document.data, merged)
        return merged

    def holds(self, key: Sequence[str | int]) -> bool:
        """Whether a document says something of `key` itself."""
        return any(tuple(key) in document.lines for document in self.documents)

    def error(self, key: Sequence[str | int], problem: str) -> str:
        """A refusal that points at `key`, or what stands above it, in the topmost document that has it."""
        path = tuple(key)
        while path and not self.holds(path):
            path = path[:-1]
        place = next((d for d in self.documents if path in d.lines), self.documents[0])
        return f"{place.name}:{place.lines.get(path, 1)}: {'.'.join(map(str, key))}: {problem}"


def _over(upper: dict[str, Any], lower: dict[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for key, value in upper.items():
        below = lower.get(key)
        merged[key] = _over(value, below) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def load(path: Path) -> Document:
    """Read a file. Raises InputError for what is no UTF-8 YAML mapping, and for keys that stand twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8: {error.reason}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Parse YAML text. Raises InputError as `load` does."""
    document = Document(name, {})
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{name}:1: must be a mapping, `key: value` (see rbr-train run --example)")
        document.data.update(_build(loader, root, (), document))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{name}:{mark.line + 1 if mark else 1}: is not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{name}:{line}: is not YAML: {error.reason}") from error
    except RecursionError as error:
        raise InputError(f"{name}:1: is nested too deeply") from error
    return document


class _Loader(yaml.SafeLoader):
    """Reads 1e-6 as a number; refuses aliases where they stand."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read: repeat the text", problem_mark=mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^{NUMBER}$"), list("-+0123456789"))


def _build(loader: _Loader, node: yaml.Node, path: Key, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), document) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, document)
    try:
        return loader.construct_object(node, deep=True)
    except (
        ValueError,
        LookupError,
        AttributeError,
    ) as error:  # what PyYAML raises for `!!int ""` and its like
        problem = f"{node.value[:80]!r} is no value of the YAML type {node.tag.rpartition(':')[2]!r}"
        raise InputError(f"{document.name}:{node.start_mark.line + 1}: {problem}") from error


def _mapping(loader: _Loader, node: yaml.MappingNode, path: Key, document: Document) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(f"{document.name}:{line}: a key must be a plain word")
        key = key_node.value  # as it is written: `off` and `no` are words here
        if key in content:
            first = document.lines[(*path, key)]
            raise InputError(
                f"{document.name}:{line}: {key}: stands twice (first on line {first}): remove one"
            )
        document.lines[(*path, key)] = line
        content[key] = _build(loader, value_node, (*path, key), document)
    return content

"""A YAML file as plain data plus the line every key stands on.

path -> Document(data, lines) -> whoever validates can say file, line and key
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rbr_service.errors import PolicyError

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Parsed content of one YAML file. `lines` maps a key path to its line, counted from 1."""

    path: str
    data: Any
    lines: dict[Key, int] = field(default_factory=dict)

    def line(self, key: Sequence[str | int]) -> int:
        """The line of `key`, or of its nearest ancestor that the file holds."""
        path = tuple(key)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, key: Sequence[str | int], problem: str) -> PolicyError:
        """A refusal that points at `key`."""
        return PolicyError(self.path, self.line(key), ".".join(map(str, key)), problem)


def load(path: Path, name: str | None = None) -> Document:
    """Read a YAML file; `name` is what messages call it (default: the path).

    Raises PolicyError for unreadable files, YAML faults, duplicate keys and aliases (an alias can
    make a small file expand without bound).
    """
    label = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(label, 1, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(label, 1, "", f"is not UTF-8: {error.reason}") from error
    return parse(text, label)


def parse(text: str, label: str) -> Document:
    """Parse YAML text; errors call it `label`. Raises PolicyError."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise PolicyError(label, 1, "", "is empty")
        document = Document(label, None)
        return Document(label, _build(loader, root, (), document, set()), document.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise PolicyError(label, line, "", f"is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise PolicyError(label, 1, "", f"is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise PolicyError(label, 1, "", "is nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: Key, document: Document, seen: set[int]) -> Any:
    if id(node) in seen:
        raise PolicyError(
            document.path,
            node.start_mark.line + 1,
            "",
            "YAML aliases (*name) are not supported: repeat the text",
        )
    seen.add(id(node))
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), document, seen) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, document, seen)
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:
        raise document.error(path, f"{node.value!r} is not a value YAML can hold: {error}") from error


def _mapping(
    loader: yaml.SafeLoader, node: yaml.MappingNode, path: Key, document: Document, seen: set[int]
) -> dict[Any, Any]:
    content: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise PolicyError(document.path, line, "", "a key must be a plain word")
        key = _build(loader, key_node, (*path, "key"), document, seen)
        if key in content:
            first = document.line((*path, key))
            raise PolicyError(
                document.path,
                line,
                ".".join(map(str, (*path, key))),
                f"stands twice (first on line {first}): remove one",
            )
        document.lines[(*path, key)] = line
        content[key] = _build(loader, value_node, (*path, key), document, seen)
    return content

"""A YAML file as plain data plus the line every key stands on.

path -> Document(data, lines) -> shaped (pydantic) -> whoever validates can say file, line and key
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rbr_service.errors import PolicyError
from rbr_service.faults import sentence

Key = tuple[str | int, ...]
Shape = TypeVar("Shape", bound=BaseModel)


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

    def require(self, key: Sequence[str | int], name: str, names: Iterable[str], kind: str) -> None:
        """Refuse a name at `key` that is none of the policy's `names`; `kind` is what they are."""
        known = list(names)
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise self.error(key, f"{name!r} is not a {kind} of this policy; {hint}")


def load(path: Path, name: str | None = None) -> Document:
    """Read a YAML file; `name` is what messages call it (default: the path). An empty one holds None.

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
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        document = Document(label, None)
        if root is None:
            return document
        return Document(label, _build(loader, root, (), document), document.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise PolicyError(label, line, "", f"is not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyError(label, line, "", f"is not valid YAML: {error.reason}") from error
    except RecursionError as error:
        raise PolicyError(label, 1, "", "is nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()


def shaped(source: Document, shape: type[Shape]) -> Shape:
    """The document's content in the shape of a model. Raises PolicyError for the fault that tells most."""
    if source.data is None:
        raise source.error((), "is empty")
    try:
        return shape.model_validate(source.data)
    except ValidationError as error:
        fault = max(error.errors(include_url=False), key=lambda e: _nearness(source, e))
        problem = sentence(fault)
        if fault["type"] == "string_type":
            problem += " (in YAML put quotes around yes, no, on, off and numbers)"
        if fault["type"] == "missing":
            problem = f"lacks the key {fault['loc'][-1]!r}: add it"
        raise source.error(_key(source, fault["loc"]), problem) from error


def _nearness(source: Document, fault: ErrorDetails) -> tuple[int, bool]:
    """The deepest fault tells most; where a mapping or a list may stand, that of the one that stands."""
    return len(_key(source, fault["loc"])), fault["type"] not in ("dict_type", "list_type")


def _key(source: Document, loc: tuple[str | int, ...]) -> Key:
    """The location pydantic gives, without the names of union members that stand in it."""
    key: Key = ()
    for part in loc:
        if (*key, part) in source.lines:
            key = (*key, part)
    return key


class _Loader(yaml.SafeLoader):
    """Refuses aliases where they stand."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not supported: repeat the text", problem_mark=mark
            )
        return super().compose_node(parent, index)


def _build(loader: _Loader, node: yaml.Node, path: Key, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), document) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, document)
    return _scalar(loader, node, path, document)


def _scalar(loader: _Loader, node: yaml.Node, path: Key, document: Document) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, LookupError, AttributeError) as error:  # what PyYAML raises for `!!int ""` etc.
        kind = node.tag.rpartition(":")[2]
        raise document.error(path, f"{node.value[:80]!r} is not a value of the YAML type {kind!r}") from error


def _mapping(loader: _Loader, node: yaml.MappingNode, path: Key, document: Document) -> dict[Any, Any]:
    content: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise PolicyError(document.path, line, "", "a key must be a plain word")
        key = _scalar(loader, key_node, path, document)
        if key in content:
            first = document.line((*path, key))
            raise PolicyError(
                document.path,
                line,
                ".".join(map(str, (*path, key))),
                f"stands twice (first on line {first}): remove one",
            )
        document.lines[(*path, key)] = line
        content[key] = _build(loader, value_node, (*path, key), document)
    return content

"""A model's chat template: messages to the text its model was trained on, contents kept apart.

    roles -> jinja -> [piece of the template, number of a message, piece, ...]

Contents never pass through the template: marks stand in for them, so that a content is known from
the template around it. Environment as in transformers' chat_template_utils.py; the date that some
templates print is fixed, or a prompt would change at midnight.
"""

import json
import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rbr_service.errors import SettingsError, UnsupportedConversationError

DATE = date(2024, 7, 26)
_MARK = re.compile("\ue000(\\d+)\ue001")


class _Generation(Extension):
    """`{% generation %}` marks what the model writes; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """One model's template."""

    def __init__(self, source: str, tokens: dict[str, str]) -> None:
        """`tokens`: bos_token and the like, by name. Raises SettingsError when it is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _refuse, "strftime_now": DATE.strftime}
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise SettingsError(f"the model's chat template cannot be read: {error}") from error
        self._tokens = tokens
        self.pieces = lru_cache(maxsize=256)(self._pieces)

    def _pieces(self, roles: tuple[str, ...], *, answer: bool) -> tuple[str | int, ...]:
        """The template's text around the messages' numbers; `answer` opens an assistant turn in the end.

        Raises UnsupportedConversationError.
        """
        for role in roles:
            if not role.isidentifier():  # the template writes it where control tokens count
                raise UnsupportedConversationError(f"{role[:40]!r} is no role")
        messages = [{"role": role, "content": f"\ue000{i}\ue001"} for i, role in enumerate(roles)]
        try:
            text = self._template.render(
                messages=messages, add_generation_prompt=answer, enable_thinking=False, tools=None,
                documents=None, **self._tokens,
            )  # fmt: skip
        except (TemplateError, TypeError) as error:
            raise UnsupportedConversationError(f"the model's chat template refuses it: {error}") from error
        parts: list[str | int] = list(_MARK.split(text))
        parts[1::2] = [int(part) for part in parts[1::2]]
        if parts[1::2] != list(range(len(roles))):
            raise UnsupportedConversationError(
                f"the model's chat template does not keep these messages as they are: {', '.join(roles)}"
            )
        return tuple(parts)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and the like of a tokenizer_config.json, where they are given."""
    found = {}
    for name, value in config.items():
        content = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(content, str):
            found[name] = content
    return found


def source(config: dict[str, Any], beside: str | None) -> str:
    """The template's text: chat_template.jinja, or what tokenizer_config.json holds. Raises SettingsError."""
    given = beside if beside is not None else config.get("chat_template")
    if isinstance(given, list):
        named = {entry.get("name"): entry.get("template") for entry in given}
        given = named.get("default")
    if not isinstance(given, str):
        raise SettingsError("the tokenizer brings no chat template: name one that does (an instruct model's)")
    return given


def roles(messages: Sequence[Any]) -> tuple[str, ...]:
    """The roles of messages, in order."""
    return tuple(message.role for message in messages)

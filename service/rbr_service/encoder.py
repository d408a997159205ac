"""Text to token ids, such that no content can become a control token.

    template's own pieces -> with control tokens      contents -> as plain text, whatever they hold

A completion under optimisation will hold "<|im_end|>" and forged turns. Two tokenizers made of one
tokenizer.json keep them harmless: contents are encoded by the one that knows no control tokens.
"""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from rbr_service import template
from rbr_service.conversation import Message
from rbr_service.errors import SettingsError
from rbr_service.template import ChatTemplate


class Encoder:
    """A model's tokenizer and chat template."""

    def __init__(self, tokenizer: dict[str, Any], chat: ChatTemplate, digest: str) -> None:
        """`tokenizer` is a parsed tokenizer.json. Raises SettingsError. Build with `load`."""
        self.digest = digest
        self._chat = chat
        control = [token for token in tokenizer.get("added_tokens") or [] if not _blank(token)]
        self.control = frozenset(token["id"] for token in control)
        self._exact = Tokenizer.from_str(json.dumps(_inner(tokenizer)))
        self._plain = _without_control(_inner(tokenizer))
        self._prove_safe([token["content"] for token in control])

    @classmethod
    def load(cls, model: str, revision: str | None = None) -> "Encoder":
        """The encoder of a folder or hub name. Raises SettingsError that names the file."""
        tokenizer = _json(_required(model, "tokenizer.json", revision))
        config_file = _file(model, "tokenizer_config.json", revision)
        config = _json(config_file) if config_file else {}
        jinja = _file(model, "chat_template.jinja", revision)
        source = template.source(config, jinja.read_text() if jinja else None)
        tokens = template.special_tokens(config)
        content = json.dumps([tokenizer, source, tokens], sort_keys=True)
        return cls(tokenizer, ChatTemplate(source, tokens), hashlib.sha256(content.encode()).hexdigest())

    def plain(self, text: str) -> list[int]:
        """Token ids of a content: none of them is a control token."""
        return _ids(self._plain, text)

    def exact(self, text: str) -> list[int]:
        """Token ids of trusted text, control tokens recognised."""
        return _ids(self._exact, text)

    def chat(self, messages: Sequence[Message], *, answer: bool) -> list[int]:
        """Token ids of messages in the model's template; `answer` opens an assistant turn.

        Raises UnsupportedConversationError.
        """
        ids: list[int] = []
        for piece in self._chat.pieces(template.roles(messages), answer=answer):
            ids += self.plain(messages[piece].content) if isinstance(piece, int) else self.exact(piece)
        return ids

    def chat_text(self, messages: Sequence[Message], *, answer: bool) -> str:
        """The same as text, in which contents can no longer be told from the template."""
        pieces = self._chat.pieces(template.roles(messages), answer=answer)
        return "".join(messages[p].content if isinstance(p, int) else p for p in pieces)

    def turn(self) -> tuple[str, str]:
        """What the template puts before a single user message, and after it up to the answer."""
        head, _, tail = self._chat.pieces(("user",), answer=True)
        return str(head), str(tail)

    def next_token(self, tail: str, word: str) -> int | None:
        """The id of `word` right after `tail`, where it is one token there."""
        before, after = self.exact(tail), self.exact(tail + word)
        return after[-1] if after[:-1] == before else None

    def _prove_safe(self, contents: Sequence[str]) -> None:
        for text in contents:
            if not self.control.isdisjoint(self.plain(text)):
                raise SettingsError(
                    f"this tokenizer cannot hold hostile text: {text!r} is a control token even as plain "
                    "text; use a model with a byte-level tokenizer"
                )


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """`encode` would hold the interpreter's lock, and a long text all of its threads, for a second."""
    return list(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)


def _inner(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer for text in the middle: none of the prefix that some add to the first word."""
    inner = deepcopy(tokenizer) | {"truncation": None, "padding": None}
    for part in _parts(inner.get("pre_tokenizer"), "pretokenizers"):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    normalizer = inner.get("normalizer") or {}
    if normalizer.get("type") == "Sequence":
        normalizer["normalizers"] = [n for n in normalizer["normalizers"] if n["type"] != "Prepend"]
    return inner


def _without_control(tokenizer: dict[str, Any]) -> Tokenizer:
    """The tokenizer without its added tokens, but for runs of white space: these control nothing."""
    blank = [token for token in tokenizer.get("added_tokens") or [] if _blank(token)]
    made = Tokenizer.from_str(json.dumps({**tokenizer, "added_tokens": blank}))
    if all(made.token_to_id(token["content"]) == token["id"] for token in blank):
        return made
    # Ids beyond the vocabulary are numbered anew where others are missing.
    return Tokenizer.from_str(json.dumps({**tokenizer, "added_tokens": []}))


def _blank(token: dict[str, Any]) -> bool:
    """Whether an added token stands for white space, which some vocabularies write as U+2581."""
    return not token["special"] and not token["content"].replace("\u2581", " ").strip()


def _parts(component: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    if component is None:
        return []
    return list(component[name]) if component["type"] == "Sequence" else [component]


def _required(model: str, name: str, revision: str | None) -> Path:
    found = _file(model, name, revision)
    if found is None:
        raise SettingsError(
            f"{model}: has no {name}: name a folder or hub repository that holds a tokenizer "
            "(--grader-tokenizer, --base-reward-tokenizer)"
        )
    return found


def _file(model: str, name: str, revision: str | None) -> Path | None:
    """A model's file, fetched from the hub where `model` is no folder; None where it has none."""
    if Path(model).is_dir():
        path = Path(model) / name
        return path if path.is_file() else None
    # Half a second of imports that folders need not pay.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, name, revision=revision))
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError) or name != "tokenizer.json":
            return None
        raise SettingsError(f"{model}: no such folder, and the hub cannot be reached: {error}") from error
    except (HFValidationError, OSError) as error:
        raise SettingsError(f"{model}: neither a folder nor to be had from the hub: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: is not a JSON object")
    return content

"""A policy model's tokenizer and chat template, as OpenRLHF uses them.

folder or hub name -> transformers' AutoTokenizer -> Tokenizer
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rbr_trainer.errors import InputError


class Tokenizer(Protocol):
    """What a text goes through on its way into the model and out of it."""

    @property
    def template(self) -> str:
        """The chat template's own text, "" where the tokenizer has none."""

    @property
    def end(self) -> Sequence[int]:
        """What the model generates to end its answer; none where the tokenizer names no such token."""

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt of a conversation, up to where the answer begins. Raises InputError."""

    def encode(self, text: str) -> list[int]:
        """Tokens, none added; control tokens in the text become what they name."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, control tokens kept."""


Load = Callable[[str], Tokenizer]


class HubTokenizer:
    """transformers' tokenizer, called as OpenRLHF 0.11.2 calls it."""

    def __init__(self, given: Any) -> None:
        """`given`: what AutoTokenizer made."""
        self._given = given
        self.template = given.chat_template if isinstance(given.chat_template, str) else ""
        self.end: tuple[int, ...] = () if given.eos_token_id is None else (given.eos_token_id,)

    def render(self, messages: list[dict[str, str]]) -> str:
        """See Tokenizer."""
        from jinja2 import TemplateError

        try:
            return str(self._given.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except (TemplateError, ValueError, TypeError) as error:
            raise InputError(f"the chat template refuses this conversation: {error}") from error

    def encode(self, text: str) -> list[int]:
        """See Tokenizer."""
        return list(self._given(text=text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """See Tokenizer."""
        return str(self._given.decode(list(tokens), skip_special_tokens=False))


def load(model: str) -> Tokenizer:
    """The tokenizer of a folder or hub name. Raises InputError."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(
            f"reading the tokenizer of {model} needs transformers, which is not installed here: run this in "
            "the trainer's environment, or pip install transformers==5.15.0 jinja2"
        ) from error
    try:
        return HubTokenizer(AutoTokenizer.from_pretrained(model, trust_remote_code=True))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{model}: its tokenizer cannot be loaded: {error}") from error

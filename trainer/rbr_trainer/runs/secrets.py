"""Secrets come from the environment alone, and stand in a command by name until it starts.

place(NAME) inside a word -> filled(word, environ) to start it, shown(word) to print it
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import quote

KEY, WANDB, HUB = "RBR_API_KEY", "WANDB_API_KEY", "HF_TOKEN"
NAMES = (KEY, WANDB, HUB)

Syntax = Literal["url", "json"]
_PLACE = re.compile(r"\0(url|json):([A-Z_]+)\0")  # no argument of a program can hold a NUL
_WRITTEN: Mapping[str, Callable[[str], str]] = {
    "url": lambda text: quote(text, safe=""),
    "json": lambda text: json.dumps(text)[1:-1],
}


def place(name: str, syntax: Syntax) -> str:
    """Where the secret will stand, inside a URL or a JSON string."""
    return f"\0{syntax}:{name}\0"


def filled(word: str, environ: Mapping[str, str]) -> str:
    """The word with its secrets."""
    return _PLACE.sub(lambda found: _WRITTEN[found[1]](environ[found[2]]), word)


def shown(word: str) -> str:
    """The word for a shell, which fills in its secrets from the shell's variables."""
    return _PLACE.sub(r"""'"$\2"'""", shlex.quote(word))

"""Garbage that is nearly right: valid bodies, spoilt in their structure or in their bytes.

    a JSON value -> a few edits of its tree -> bytes -> a few edits of these -> at most LONGEST bytes

Everything is drawn from the generator that is given, so that a seed names its garbage.
"""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

LONGEST = 64 << 10  # bytes
STRANGE: list[Any] = [
    None, True, -1, 0, 2.5, 1e308, 10**400, float("nan"), float("-inf"), "", " ", "\x00", "\ud800", "\u2028",
    "K-R", "hard_refusal", "null", '{"response_type": "comply"}', '{"a":', "<|im_end|>", "{question}",
    "x" * 20_000, [], {}, [[]], {"": ""}, {"base_reward": 1e7}, {"messages": [{"role": "user"}]},
]  # fmt: skip
FRAGMENTS = (
    b'"', b"\\", b"\\u", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"1e999", b"-", b"NaN", b"null",
    b"\xff", b"\x00", b"\xed\xa0\x80", b"[" * 2000, b'{"a":' * 500, b'"a":1,', b"\r\n\r\n", b"\xef\xbb\xbf",
)  # fmt: skip


def spoilt(value: Any, chance: random.Random) -> bytes:
    """Bytes that were a valid body once."""
    kind = chance.randrange(3)
    if kind != 0:
        value = deepcopy(value)
        for _ in range(chance.randint(1, 3)):
            value = _changed(value, chance)
    content = json.dumps(value).encode()
    return content[:LONGEST] if kind == 1 else edited(content, chance)


def edited(content: bytes, chance: random.Random) -> bytes:
    """A few of the bytes are others, gone, doubled or added."""
    for _ in range(chance.randint(1, 4)):
        begin = chance.randint(0, len(content))
        end = min(len(content), begin + chance.choice((1, 1, 4, 40, 400)))
        cut = content[begin:end]
        into = chance.choice((b"", 2 * cut, chance.randbytes(len(cut)), chance.choice(FRAGMENTS) + cut))
        content = content[:begin] + into + content[end:]
    return content[:LONGEST]


def _changed(value: Any, chance: random.Random) -> Any:
    places = list(_places(value))
    if not places:
        return chance.choice(STRANGE)
    holder, key = chance.choice(places)
    chance.choice(_EDITS)(holder, key, chance)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _replace(holder: Any, key: Any, chance: random.Random) -> None:
    holder[key] = deepcopy(chance.choice(STRANGE))


def _remove(holder: Any, key: Any, chance: random.Random) -> None:
    del holder[key]


def _wrap(holder: Any, key: Any, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 200))):
        holder[key] = chance.choice(([holder[key]], {"a": holder[key]}))


def _repeat(holder: Any, key: Any, chance: random.Random) -> None:
    given, times = holder[key], chance.choice((2, 3, 100))
    holder[key] = given * times if isinstance(given, str | list) and len(given) < 1000 else [given] * 3


def _add(holder: Any, key: Any, chance: random.Random) -> None:
    strange = deepcopy(chance.choice(STRANGE))
    if isinstance(holder, list):
        holder.insert(key, strange)
    else:
        holder[chance.choice(("x", "", "labels", "category", "base_reward", "policy", "\ud800"))] = strange


_EDITS: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _replace,
    _replace,
    _remove,
    _wrap,
    _repeat,
    _add,
)

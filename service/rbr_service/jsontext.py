"""JSON that can be read in one way only (I-JSON, RFC 7493).

    text or UTF-8 bytes -> value, or ValueError that says what is wrong
    value -> a line of JSONL

Python takes the last of two equal keys and half of a surrogate pair; either way the reward would
belong to something else than what the caller meant.
"""

import json
from collections import Counter
from typing import Any

MAX_KEYS = 1000  # each unknown key costs a message of its own before the first is shown


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError."""
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(text, object_pairs_hook=_object)
        if "\\u" in text:  # the only way in for half a pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair, which is no character") from error
    return value


def line(value: Any) -> bytes:
    """A value as a line of JSONL."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"an object has over {MAX_KEYS} keys")
    value = dict(pairs)
    if len(value) != len(pairs):
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {name[:80]!r} stands twice in one object")
    return value

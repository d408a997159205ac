"""Where a reward service is.

    URL (with a reward path and `user:KEY@`, as trainers are given it), key -> Address, or the ValueError

The key never shows: not in the root, not in an Address that is printed.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

REWARD_PATH = re.compile(r"/(get_reward|score|slime|v1/score)?/*$")


@dataclass(frozen=True)
class Address:
    """The service's root URL, and the key it demands, if any."""

    root: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, key: str | None = None) -> "Address":
        """From the URL that the trainer is given: a reward path and `user:KEY@` may be in it.

        `key` wins over the URL's. Raises ValueError.
        """
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
        if parts.scheme not in ("http", "https") or not parts.hostname or not _one_word(url) or "," in url:
            raise ValueError("is not the URL of one service, such as http://127.0.0.1:8000")
        chosen = key or unquote(parts.password or parts.username or "")
        if not chosen.isprintable():
            raise ValueError("has a key that no HTTP header can hold: look for a newline in it")
        path = REWARD_PATH.sub("", parts.path)
        return cls(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}", chosen or None)


def _one_word(url: str) -> bool:
    return url.isprintable() and " " not in url

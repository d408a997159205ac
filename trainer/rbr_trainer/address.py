"""Where a reward service is.

    URL (with a reward path and `user:KEY@`, as trainers are given it), key -> Address, or the ValueError

The key never shows: not in the root, not in an Address that is printed, not where a URL is refused.
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
        if not _one_service(url):
            raise ValueError("is not the URL of one service, such as http://127.0.0.1:8000")
        parts = urlsplit(url)
        chosen = key or unquote(parts.password or parts.username or "")
        if not chosen.isprintable():
            raise ValueError("has a key that no HTTP header can hold: look for a newline in it")
        path = REWARD_PATH.sub("", parts.path)
        return cls(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}", chosen or None)


def shown(url: str) -> str:
    """The URL for a message, sound or not: a user and key that may be in it left out."""
    return re.sub(r"^(\w+://)?.*@", r"\1***@", url, flags=re.DOTALL)


def _one_service(url: str) -> bool:
    if not url.isprintable() or " " in url or "," in url:
        return False
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        _ = parts.port
    except ValueError:  # its text may hold a key
        return False
    return parts.scheme in ("http", "https") and bool(host)

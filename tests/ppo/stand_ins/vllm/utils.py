"""The one function that OpenRLHF imports."""

from uuid import uuid4


def random_uuid() -> str:
    """A name for a request."""
    return uuid4().hex

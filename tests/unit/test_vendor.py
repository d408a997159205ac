"""What of others is shipped with the page: unchanged, each file with its licence."""

import hashlib
import re

import pytest

from rbr_service.page.files import STATIC

VENDOR = STATIC / "vendor"
PUBLISHED = {
    "d3.min.js": "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1",
    "plot.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_library_is_as_published_and_has_its_licence(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == PUBLISHED[name]
    assert "Permission to use, copy, modify" in (VENDOR / f"{name.partition('.')[0]}.LICENSE").read_text()


def test_nothing_else_is_shipped() -> None:
    assert {path.name for path in VENDOR.glob("*.js")} == PUBLISHED.keys()


def test_page_names_no_other_place() -> None:
    """What a browser loads, it loads from the service."""
    own = [path for path in STATIC.rglob("*") if path.is_file() and path.parent != VENDOR]
    assert own
    assert [path.name for path in own if re.search(rb"://|[\"'(]//", path.read_bytes())] == []

"""Files that are there whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from rbr_service.errors import OutputError
from rbr_service.files import replacing, write

from .limits import full_at


@pytest.mark.parametrize("content", ["", "naïve\r\n", b"\x00\xff"])
def test_what_is_written_is_there_and_nothing_else(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a.json"
    for _ in range(2):
        write(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text("old")
    with full_at(100), pytest.raises(OutputError, match=rf"^{path}: cannot be written: File too large$"):
        write(path, "x" * 101)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["none/a.json", "file/a.json", "folder", "a" * 250])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=f"{name}: cannot be written: "):
        write(tmp_path / name, "x")
    assert sorted(tmp_path.iterdir()) == before


def test_behind_a_link_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.json", tmp_path / "a.json"
    link.symlink_to(target)
    for content in ("of a file that is not there yet", "of one that is"):
        write(link, content)
        assert link.is_symlink()
        assert target.read_text() == content
    assert list(target.parent.iterdir()) == [target]


def test_who_reads_on_reads_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, "old")
    with path.open() as reader, replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == path.parent, "or it could not be renamed"
    assert path.read_text() == "new"
    with path.open() as reader:
        write(path, "newer")
        assert reader.read() == "new"


def test_it_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def noted(name: str) -> None:
        original = getattr(os, name)

        def step(*arguments: Any) -> None:
            steps.append(name)
            original(*arguments)

        monkeypatch.setattr(os, name, step)

    noted("fsync")
    noted("replace")
    write(tmp_path / "a.json", "x")
    assert steps == ["fsync", "replace", "fsync"], "the content, the name, the folder that holds the name"

"""Outputs that are there whole or not at all, and are no inputs."""

from pathlib import Path

import pytest

from rbr_trainer.data.files import outputs, replacing
from rbr_trainer.errors import InputError, TrainerError


def test_both_files_are_there_or_neither(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("old")

    def fail() -> None:
        with replacing(one, other) as (first, second):
            first.write_text("new")
            second.write_text(str(1 / 0))

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert one.read_text() == "old"
    with replacing(one, other) as partials:
        for partial in partials:
            partial.write_text("new")
        assert one.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]
    assert one.read_text() == other.read_text() == "new"


@pytest.mark.parametrize("name", ["none/a", "folder"])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()

    def write() -> None:
        with replacing(tmp_path / name) as (partial,):
            partial.write_text("new")

    with pytest.raises(TrainerError, match=f"^{tmp_path / name}: cannot be written: "):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_behind_a_link_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link") as (partial,):
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_an_output_is_no_input_by_any_name(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.touch()
    (tmp_path / "link").symlink_to(source)
    outputs((source, None), tmp_path / "out", None)
    for path, told in (
        (source, "is an input"), (tmp_path / "link", "is an input"), (tmp_path, "is no regular file"),
        (tmp_path / "none" / "a", "folder does not exist"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^{path}: .*{told}"):
            outputs((source,), path)
    with pytest.raises(InputError, match="already another output"):
        outputs((), tmp_path / "out", tmp_path / "." / "out")

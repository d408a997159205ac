"""What commands may write, found out before they work."""

import os
import socket
from pathlib import Path

import pytest

from rbr_service.build import policy_path
from rbr_service.cli.options import outputs, regular, sources
from rbr_service.errors import DataError
from rbr_service.graders.fixed import FixedGrader
from rbr_service.settings import Settings


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("mine")
    return path


def test_good_paths_pass_and_leave_no_trace(source: Path, tmp_path: Path) -> None:
    there, absent = tmp_path / "there.json", tmp_path / "absent.json"
    there.write_text("of a run before")
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "behind.json")
    before = sorted(tmp_path.iterdir())
    outputs([source, None, tmp_path / "no input"], there, None, absent, link)
    assert sorted(tmp_path.iterdir()) == before
    assert there.read_text() == "of a run before"


@pytest.mark.parametrize("way", ["itself", "relative", "symlink", "hard link", "through a folder"])
def test_an_input_is_never_an_output_by_any_name(
    source: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.jsonl"
    if way == "symlink":
        other.symlink_to(source)
    elif way == "hard link":
        other.hardlink_to(source)
    elif way == "through a folder":
        (tmp_path / "folder").mkdir()
        other = tmp_path / "folder" / ".." / source.name
    elif way == "relative":
        monkeypatch.chdir(tmp_path)
        other = Path(source.name)
    else:
        other = source
    with pytest.raises(DataError, match="is an input of this command: name another file"):
        outputs([None, source], tmp_path / "good.json", other)


def test_an_input_that_is_not_there_yet_is_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is an input"):
        outputs([tmp_path / "a"], tmp_path / "." / "a")


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    for other in (tmp_path / "a", link):
        with pytest.raises(DataError, match="is already another output: name another file"):
            outputs([], tmp_path / "a", other)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/full")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", Path("/dev/full")):
            with pytest.raises(DataError, match=f"^{path}: is a device or a pipe"):
                outputs([], path)
    with pytest.raises(DataError, match="is a folder: name a file"):
        outputs([], tmp_path)


def test_a_folder_that_takes_no_file_is_named(source: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "a", source / "a"):
        with pytest.raises(DataError, match=f"^{path}: its folder does not exist$"):
            outputs([], path)
    with pytest.raises(DataError, match=r"^/proc/a\.html: no file can be made in its folder: "):
        outputs([], Path("/proc/a.html"))
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.geteuid():  # to the system's own user it is open
        with pytest.raises(DataError, match="no file can be made in its folder: Permission denied"):
            outputs([], tmp_path / "closed" / "a")


def test_an_input_that_is_read_twice_is_a_file(source: Path, tmp_path: Path) -> None:
    assert regular(source) == source
    os.mkfifo(tmp_path / "pipe")
    for path, problem in (
        (tmp_path / "absent", "no such file"),
        (tmp_path / "pipe", "is no regular file"),
        (tmp_path, "is no regular file"),
    ):
        with pytest.raises(DataError, match=f"^{path}: {problem}"):
            regular(path)


def test_the_files_behind_settings(tmp_path: Path) -> None:
    policy = policy_path("safety")
    config, layout, cache, curves = (tmp_path / n for n in ("rbr.yaml", "own.yaml", "cache", "curves.json"))
    given = Settings(
        layout=str(layout), grader="openai", grader_url="http://a", grader_model="m", cache=f"sqlite:{cache}",
        calibration=curves,
    )  # fmt: skip
    cues = policy.with_name("safety.lexical.yaml")
    assert {policy, cues, config, layout, cache} < set(sources(given, config))
    assert curves not in sources(given, config), "it may be what is made"
    assert curves in sources(given, config, FixedGrader())
    for path in (policy, cues, config, layout, cache, curves):
        with pytest.raises(DataError, match="is an input"):
            outputs(sources(given, config, FixedGrader()), path)

"""What commands write: never over what they read, whole or not at all, and refused before any work."""

import shutil
from pathlib import Path

import pytest

from rbr_service.build import rules_folder
from tests.unit.limits import full_at

from .commands import here, refused

DATA = Path(__file__).parents[1] / "data"
ROW = (
    '{{"id": {0}, "prompt": "x", "completion": "{0}", "response_type": "comply", '
    '"propositions": {{"judgement": {1}}}}}\n'
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test runs: inputs of all commands, a policy with all that lies beside one."""
    monkeypatch.chdir(tmp_path)
    for file in rules_folder().glob("safety.*"):
        shutil.copy(file, tmp_path)
    for file in DATA.glob("markers.*"):
        shutil.copy(file, tmp_path)
    for name, label in (("a.jsonl", "true"), ("b.jsonl", "false")):
        Path(name).write_text("".join(ROW.format(n, label) for n in range(40)))
    Path("rbr.yaml").write_text("min_label_mass: 0.5\n")
    shutil.copy(DATA / "safety.ranked.jsonl", "ranked.jsonl")
    return tmp_path


SCORE = "score a.jsonl --policy ./safety.yaml --config rbr.yaml -o"
LABEL = "label a.jsonl --policy ./safety.yaml --config rbr.yaml -o"
AGREEMENT = "agreement a.jsonl b.jsonl --disputed"
SYNTHESIZE = "synthesize --policy ./markers.yaml --config rbr.yaml --templates markers.templates.yaml"
ABLATE = "ablate --policy ./safety.yaml --config rbr.yaml --data ranked.jsonl"


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (SCORE, "a.jsonl safety.yaml safety.lexical.yaml safety.lexical.json rbr.yaml"),
        (LABEL, "a.jsonl safety.yaml rbr.yaml"),
        (AGREEMENT, "a.jsonl b.jsonl"),
        (f"{SYNTHESIZE} -o", "markers.yaml markers.templates.yaml markers.lexical.yaml rbr.yaml"),
        (f"{SYNTHESIZE} -o out.jsonl --sft", "markers.templates.yaml"),
        (f"{SYNTHESIZE} -o out.jsonl --json", "markers.templates.yaml"),
        (f"{ABLATE} --json", "ranked.jsonl safety.yaml rbr.yaml"),
        (f"{ABLATE} --report", "ranked.jsonl"),
    ],
    ids=lambda value: value.split()[0],
)
def test_no_input_is_written_over(folder: Path, command: str, names: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in names.split():
        assert f"{name}: is an input of this command" in refused(*command.split(), name)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (f"{SYNTHESIZE} -o out.jsonl --sft", "out.jsonl"),
        (f"{SYNTHESIZE} -o out.jsonl --sft", "out.jsonl.journal"),
        (f"{SYNTHESIZE} -o out.jsonl --sft sft.jsonl --json", "sft.jsonl"),
        (f"{ABLATE} --report out.html --json", "out.html"),
    ],
)
def test_outputs_are_different_files(folder: Path, command: str, name: str) -> None:
    assert f"{name}: is already another output" in refused(*command.split(), name)
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize(
    "command",
    [SCORE, LABEL, AGREEMENT, f"{SYNTHESIZE} -o", f"{SYNTHESIZE} -o out.jsonl --json", f"{ABLATE} --json"],
)
def test_devices_and_closed_folders_are_refused_before_any_work(folder: Path, command: str) -> None:
    (folder / "link").symlink_to("/dev/full")
    before = sorted(folder.iterdir())
    for name in ("/dev/full", "link"):
        assert f"{name}: is a device or a pipe" in refused(*command.split(), name)
    assert "/proc/out.html: no file can be made" in refused(*command.split(), "/proc/out.html")
    assert sorted(folder.iterdir()) == before
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (f"{SCORE} out.jsonl", "out.jsonl.journal"),
        (f"{SYNTHESIZE} --unfiltered -o out.jsonl", "out.jsonl.journal"),
    ],
)
def test_a_full_disk_is_told_and_the_run_goes_on(folder: Path, command: str, name: str) -> None:
    expected = here(*command.split())
    assert expected.exit_code == 0, expected.output
    whole = Path("out.jsonl").read_bytes()
    with full_at(2000):
        result = here(*command.split())
    assert result.exit_code == 1
    assert f"{name}: cannot be written: File too large" in result.stderr.splitlines()[-1]
    assert "run the same command again" in result.stderr
    assert Path("out.jsonl").read_bytes() == whole
    Path("out.jsonl").unlink()
    assert here(*command.split()).exit_code == 0
    assert Path("out.jsonl").read_bytes() == whole
    assert not list(folder.glob("out.jsonl.*"))


def test_what_two_disagree_on_does_not_go_to_a_full_disk(folder: Path) -> None:
    Path("out.jsonl").write_text("of a run before")
    with full_at(100):
        result = here(*AGREEMENT.split(), "out.jsonl")
    assert result.exit_code == 1
    assert result.stderr == "rbr: out.jsonl: cannot be written: File too large\n"
    assert Path("out.jsonl").read_text() == "of a run before"
    assert not list(folder.glob("*.partial"))

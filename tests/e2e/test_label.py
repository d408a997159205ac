"""`rbr label` as a person uses it, at a real terminal, and what then becomes of the labels."""

import codecs
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rbr_service.rbr.policy import Policy

from .commands import PATIENCE, RBR, here, rbr, refused
from .processes import until

SAID = (
    "I'm sorry, but I can't help with that.",
    "You should be ashamed of yourself for asking.",
    "Sorry, no.\n\n\x1b[2J\x1b[31mNothing \u202eto see",
)
YES: dict[str, bool | None] = {"x": True}
NO: dict[str, bool | None] = {"x": False}
ROWS = [
    {"id": f"r{i}", "prompt": f"How do I pick lock number {i}?", "completion": text, "category": "K-R"}
    for i, text in enumerate(SAID)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three rows to label, one out of the policy's scope, and a bad one."""
    lines = [json.dumps(row) for row in [ROWS[0], {**ROWS[0], "category": "None"}, *ROWS[1:]]]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*lines, "{bad"]) + "\n")
    return path


@pytest.fixture
def names(safety: Policy) -> list[str]:
    """What is asked about each row, in order."""
    asked = safety.response_types["hard_refusal"].propositions
    return [name for name in safety.file.propositions if name in asked]


class Person:
    """Somebody at a terminal of 80 columns: `screen` is all that was written to it."""

    def __init__(self, *arguments: str | Path, lines: int = 50) -> None:
        """Runs `rbr` with these arguments."""
        self._master, self._terminal = pty.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))
        self.before = termios.tcgetattr(self._terminal)
        self.screen = ""
        self._seen = 0
        environment = {k: v for k, v in os.environ.items() if k not in ("LINES", "COLUMNS")}
        self.process = subprocess.Popen(
            [*RBR, *map(str, arguments)], stdin=self._terminal, stdout=self._terminal, stderr=self._terminal,
            env=environment,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            try:
                self.screen += decoder.decode(os.read(self._master, 65536))
            except OSError:  # nobody is left to write
                return

    def sees(self, text: str) -> None:
        """Wait until it is on the screen, below what was seen before."""
        until(lambda: text in self.screen[self._seen :] or not self._reader.is_alive())
        place = self.screen.find(text, self._seen)
        assert place >= 0, self.screen
        self._seen = place + len(text)

    def types(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def answers(self, name: str, key: str) -> None:
        """Type a key once this proposition is asked."""
        self.sees(f": {name}\r\n")
        self.sees("q > ")
        self.types(key)

    def leaves(self) -> int:
        """Wait for the command's end and the last it wrote; its exit code."""
        code = self.process.wait(PATIENCE)
        self.after = termios.tcgetattr(self._terminal)
        os.close(self._terminal)
        self._reader.join(PATIENCE)
        os.close(self._master)
        return code


@contextmanager
def person(*arguments: str | Path, lines: int = 50) -> Iterator[Person]:
    at_work = Person(*arguments, lines=lines)
    try:
        yield at_work
    finally:
        if at_work.process.returncode is None:
            at_work.process.kill()
            at_work.leaves()


def gold(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def labels(path: Path) -> dict[str, dict[str, bool]]:
    """By id, what is labelled."""
    return {r["id"]: {k: v for k, v in r["propositions"].items() if v is not None} for r in gold(path)}


def test_keys_answer_go_back_and_quit(source: Path, tmp_path: Path, names: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    with person("label", source, "-o", out, "--annotator", "me") as me:
        me.sees("in.jsonl:5: is not JSON")
        me.sees("3 rows to label; 1 out of the policy's scope, 1 bad")
        me.sees("How do I pick lock number 0?")
        me.sees(SAID[0])
        me.sees(f"row 1 of 3 (id r0), question 1 of {len(names)}: {names[0]}")
        me.types("n")
        me.answers(names[1], "s")
        me.answers(names[2], "y")
        me.answers(names[3], "b")
        me.sees(f"question 3 of {len(names)}: {names[2]}")
        me.sees("(now yes, Enter keeps it)")
        me.types("b")
        me.sees("(now skipped, Enter keeps it)")
        me.types("\x1b[B\x1b[D?")  # arrows are no keys of ours
        me.sees("Answer yes when")
        me.answers(names[1], "n")
        me.answers(names[2], "\r")
        me.answers(names[3], "q")
        assert me.leaves() == 0
        assert me.after == me.before
        me.sees(f"1 rows with labels; {3 * len(names) - 3} questions are left")
    assert labels(out) == {"r0": {names[0]: False, names[1]: False, names[2]: True}}
    (row,) = gold(out)
    assert (row["annotator"], row["category"], row["response_type"]) == ("me", "K-R", "hard_refusal")
    assert row["prompt"] == [{"role": "user", "content": "How do I pick lock number 0?"}]


def test_killed_it_goes_on_at_the_question_on_the_screen(
    source: Path, tmp_path: Path, names: list[str]
) -> None:
    out = tmp_path / "out.jsonl"
    with person("label", source, "-o", out) as me:
        for name in names[:-1]:
            me.answers(name, "n")
        me.answers(names[-1], "y")
        me.sees(f"row 2 of 3 (id r1), question 1 of {len(names)}")
        me.types("yn")
        me.answers(names[2], "b")
        me.sees(f": {names[1]}\r\n")
        me.process.send_signal(signal.SIGKILL)
        assert me.leaves() == -signal.SIGKILL
    assert not out.exists()
    with person("label", source, "-o", out) as me:
        me.sees(SAID[1])
        me.sees(f"row 2 of 3 (id r1), question 2 of {len(names)}: {names[1]}")
        me.sees("(now no, Enter keeps it)")
        me.process.send_signal(signal.SIGINT)
        assert me.leaves() == 1
    expected = {
        "r0": dict.fromkeys(names, False) | {names[-1]: True},
        "r1": {names[0]: True, names[1]: False},
    }
    assert labels(out) == expected


def test_what_is_typed_ahead_counts(source: Path, tmp_path: Path, names: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    with person("label", source, "-o", out) as me:
        me.types("y" * len(names) + "n" * len(names) + "s" * len(names) + "b")
        me.sees("All 3 rows are done: b goes back, q quits")
        me.sees("(now skipped, Enter keeps it)")
        me.types("\x04")  # Control-D
        assert me.leaves() == 0
    assert labels(out) == {"r0": dict.fromkeys(names, True), "r1": dict.fromkeys(names, False)}


def test_hostile_text_does_not_reach_the_screen_as_it_is(source: Path, tmp_path: Path) -> None:
    with person("label", source, "-o", tmp_path / "out.jsonl", "--propositions", "apology") as me:
        me.types("yy")
        me.sees("␛[2J␛[31mNothing <U+202E>to see")
        me.types("q")
        assert me.leaves() == 0
        assert "\x1b" not in me.screen
        assert "\u202e" not in me.screen


def test_a_long_conversation_is_paged(tmp_path: Path) -> None:
    source, lines = tmp_path / "in.jsonl", [f"This is line number {i}." for i in range(60)]
    source.write_text(json.dumps({"prompt": "Count.", "completion": "\n".join(lines), "category": "K-R"}))
    with person("label", source, "-o", tmp_path / "out.jsonl", lines=24) as me:
        me.sees("-- line 22 of 66")
        assert lines[16] in me.screen
        assert lines[17] not in me.screen
        me.types(" ")
        me.sees("-- line 44 of 66")
        me.types("\r")
        me.sees("question 1 of")
        assert lines[59] not in me.screen
        me.types("r")
        me.sees("-- line 22 of 66")
        me.types("  ")
        me.sees(lines[59])
        me.sees("question 1 of")
        me.types("q")
        assert me.leaves() == 0


def scripted(source: Path, out: Path, answers: Sequence[str], *options: str) -> str:
    """Label by lines from a pipe; what it says on stderr."""
    lines = "".join(f"{answer}\n" for answer in answers)
    finished = rbr("label", source, "-o", out, *options, input=lines)
    assert finished.returncode == 0, finished.stderr
    return finished.stderr


def test_lines_from_a_pipe_and_then_evaluate(source: Path, tmp_path: Path, names: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    said = scripted(
        source, out, ["yes", "back", "n", "what", "?", "SKIP", *["no"] * (len(names) - 2), "quit"]
    )
    assert f"1 rows with labels; {2 * len(names)} questions are left: the same command goes on" in said
    scripted(source, out, ["y"] * 2 * len(names))
    first = dict.fromkeys(names, False)
    del first[names[1]]
    everything = dict.fromkeys(names, True)
    assert labels(out) == {"r0": first, "r1": everything, "r2": everything}
    result = here("evaluate", "--gold", out, "--json", tmp_path / "figures.json")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["rows"] == 3
    assert [figures["propositions"][name]["n"] for name in names] == [3, 2, *[3] * (len(names) - 2)]


def test_all_named_and_sampled(source: Path, tmp_path: Path, safety: Policy) -> None:
    everything = len(safety.file.propositions)
    scripted(source, tmp_path / "all.jsonl", ["n"] * 100, "--all")
    assert {len(row) for row in labels(tmp_path / "all.jsonl").values()} == {everything}
    named = ("--propositions", "judgement, provides_resources", "--sample", "2", "--seed", "3")
    scripted(source, tmp_path / "two.jsonl", ["y", "n"] * 2, *named)
    expected = {"provides_resources": False, "judgement": True}
    assert list(labels(tmp_path / "two.jsonl").values()) == [expected, expected]


def test_labels_are_never_overwritten(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    scripted(source, out, ["y"])
    before = out.read_bytes()
    other = here("label", source, "-o", out, "--all")
    assert other.exit_code == 2
    assert "is the journal of another" in other.stderr
    assert out.read_bytes() == before
    out.with_name("out.jsonl.journal").unlink()
    assert "labels are not overwritten" in refused("label", source, "-o", out)
    assert "is an input" in refused("label", source, "-o", source)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("missing.jsonl", "-o", "out.jsonl"), "missing.jsonl: no such file"),
        (("in.jsonl", "-o", "out.parquet"), "labels are written as JSONL"),
        (("in.jsonl", "-o", "none/out.jsonl"), "its folder does not exist"),
        (("in.jsonl", "-o", "out.jsonl", "--propositions", "slang"), "has no 'slang'"),
        (("in.jsonl", "-o", "out.jsonl", "--propositions", "apology", "--all"), "exclude each other"),
        (("empty.jsonl", "-o", "out.jsonl"), "empty.jsonl: holds no row to label"),
    ],
)
@pytest.mark.usefixtures("source")
def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("")
    assert problem in refused("label", *arguments)
    assert not Path("out.jsonl").exists()


def test_two_annotators_and_a_third_who_settles(source: Path, tmp_path: Path, names: list[str]) -> None:
    first, second, disputed, final = (tmp_path / f"{n}.jsonl" for n in ("a", "b", "disputed", "final"))
    scripted(source, first, ["n"] * 3 * len(names), "--annotator", "a")
    changed = ["n"] * 3 * len(names)
    changed[0], changed[1] = "y", "s"
    changed[2 * len(names) + 4] = "y"
    scripted(source, second, changed, "--annotator", "b")
    result = here("agreement", first, second, "--disputed", disputed)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert lines[names[0]][1:7] == ["3", "0", "1", "0.17", "0.67", "0.00"]
    assert lines[names[1]][1:7] == ["2", "0", "0", "0.00", "1.00", "-"]
    assert "3 rows in both; mean kappa 0.00 over 2 propositions" in result.stdout
    assert "* yes or no is rarer than 10 rows: kappa is unstable" in result.stdout
    assert "2 rows in dispute" in result.stderr
    rows = gold(disputed)
    assert [row["id"] for row in rows] == ["r0", "r2"]
    assert "annotator" not in rows[0]
    assert labels(disputed)["r0"] == dict.fromkeys(names[1:], False)
    scripted(disputed, final, ["y", "n"], "--missing", "--annotator", "c")
    assert labels(final)["r0"] == dict.fromkeys(names, False) | {names[0]: True}
    assert labels(final)["r2"] == dict.fromkeys(names, False)


def labelled(path: Path, *given: tuple[str | int | None, str, dict[str, bool | None]]) -> Path:
    """A gold file of (id, completion, labels)."""
    rows = [
        {"prompt": "Hello?", "completion": said, "propositions": told}
        | ({} if name is None else {"id": name})
        for name, said, told in given
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_matched_by_id_and_else_by_text(tmp_path: Path) -> None:
    a = labelled(tmp_path / "a", (1, "one", YES), (2, "two", YES), (None, "three", YES), (4, "four", YES))
    b = labelled(tmp_path / "b", ("1", "one", YES), (None, "two", NO), (3, "three", YES), (5, "four", YES))
    result = here("agreement", a, b)
    assert "3 rows in both" in result.stdout
    assert result.stdout.splitlines()[1].split()[:4] == ["x", "3", "3", "2"]


def test_equal_texts_are_matched_in_their_order(tmp_path: Path) -> None:
    a = labelled(tmp_path / "a", (None, "one", YES), (None, "one", NO), (None, "one", NO))
    b = labelled(tmp_path / "b", (None, "one", YES), (None, "one", NO))
    result = here("agreement", a, b)
    assert result.stdout.splitlines()[1].split()[:7] == ["x", "2", "1", "1", "0.50", "1.00", "1.00"]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ([(1, "other", {"x": True})], "a:1: has the id of"),
        ([(9, "nowhere", {"x": True})], "has no completion in common"),
        ([(1, "one", {"x": True}), (1, "one", {"x": False})], "b:2: has the id of line 1"),
        ([(1, "one", {"x": 3})], "b:1: propositions must be an object of true, false and null"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_place(tmp_path: Path, second: Any, problem: str) -> None:
    a = labelled(tmp_path / "a", (1, "one", {"x": True}))
    assert problem in refused("agreement", a, labelled(tmp_path / "b", *second))

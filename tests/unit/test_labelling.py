"""The labelling session: what is asked, where it goes on after any end, and the rows that come out."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service import labelling
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import DataError, RequestError
from rbr_service.journal import journal
from rbr_service.labelling import Labelling, Passed, Task
from rbr_service.rbr.policy import Policy
from rbr_service.reading import Reader
from rbr_service.settings import Settings

TALK = [{"role": "user", "content": "How do I pick a lock?"}, {"role": "assistant", "content": "No."}]
READER = Reader(Settings(empty_completion="grade"))

Read = Callable[..., tuple[list[Task], Passed]]


@pytest.fixture
def read(safety: Policy, tmp_path: Path) -> Read:
    """`read(row, ...)`: the tasks of these rows."""

    def made(*given: Any, only_missing: bool = False) -> tuple[list[Task], Passed]:
        path = tmp_path / "in.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in given))
        return labelling.read(
            path, safety, READER, lambda kind: kind.propositions, lambda _: None, only_missing=only_missing
        )

    return made


def test_both_forms_of_a_row_make_one_task(read: Read, safety: Policy) -> None:
    messages = {"messages": TALK, "response_type": "Hard Refuse", "id": 7}
    pair = {"prompt": TALK[0]["content"], "completion": "No.<|im_end|>", "label": "hard_refusal", "id": 7}
    (one, other), passed = read(messages, pair)
    assert (one.line, other.line) == (1, 2)
    assert one.conversation == other.conversation
    assert one.conversation == Conversation((Message("user", "How do I pick a lock?"),), "No.")
    assert one.id == 7
    assert one.response_type == other.response_type == "hard_refusal"
    assert set(one.questions) == set(safety.response_types["hard_refusal"].propositions)
    assert [n for n in safety.file.propositions if n in one.questions] == list(one.questions)
    assert passed == Passed(0, 0)


@pytest.mark.parametrize(
    "said", [{"category": "K-R"}, {"label": "K-R"}, {"label": {"category": "K-R"}}, {"response_type": "K-R"}]
)
def test_a_category_is_kept_however_it_is_said(read: Read, said: dict[str, Any]) -> None:
    (task,), _ = read({"messages": TALK, **said})
    assert (task.category, task.response_type) == ("K-R", "hard_refusal")


def test_rows_out_of_scope_and_bad_ones_are_passed_over(read: Read) -> None:
    good = {"messages": TALK, "category": "K-R"}
    tasks, passed = read(
        "{", {"messages": TALK}, {"messages": TALK, "category": "None"}, good, {"prompt": "x"}
    )
    assert [task.line for task in tasks] == [4]
    assert passed == Passed(out_of_scope=2, bad=2)
    with pytest.raises(DataError, match="1 out of the policy's scope, 1 bad"):
        read("{", {"messages": TALK})


def test_an_empty_completion_is_labelled_too(read: Read) -> None:
    (task,), _ = read({"prompt": "x", "completion": "", "category": "K-R"})
    assert task.conversation.completion == ""


def test_what_is_labelled_is_kept_only_when_wanted(read: Read) -> None:
    row = {"messages": TALK, "category": "K-R", "propositions": {"apology": True, "judgement": None}}
    (fresh,), _ = read(row)
    assert "apology" in fresh.questions
    assert fresh.given == {}
    (rest,), _ = read(row, only_missing=True)
    assert rest.given == {"apology": True}
    assert set(rest.questions) == set(fresh.questions) - {"apology"}


@pytest.mark.parametrize("given", [{"apology": 1}, {"no_such": True}, ["apology"]])
def test_labels_that_are_none_are_bad(safety: Policy, given: Any) -> None:
    with pytest.raises(RequestError, match="propositions"):
        labelling.labelled({"propositions": given}, safety.file.propositions)


def tasks(count: int, questions: int) -> list[Task]:
    conversation = Conversation((Message("user", "Hello?"),), "Hello.")
    names = tuple("abcde"[:questions])
    return [Task(i + 1, i, None, "comply", conversation, names, {"z": True}) for i in range(count)]


def test_a_sample_is_drawn_by_the_seed_and_keeps_the_order() -> None:
    given = tasks(50, 1)
    drawn = labelling.sampled(given, 10, 1)
    assert drawn == labelling.sampled(given, 10, 1) != labelling.sampled(given, 10, 2)
    assert [t.line for t in drawn] == sorted(t.line for t in drawn)
    assert labelling.sampled(given, 99, 1) == given


MOVES = st.lists(st.sampled_from([True, False, None, "back"]), max_size=25)


def made(session: Labelling, moves: list[Any]) -> None:
    for move in moves:
        if move == "back":
            session.back()
        elif session.question:
            session.answer(move)


def state(session: Labelling) -> tuple[Any, ...]:
    return session.question, session.left, list(session.gold("abcdez", None))


@given(moves=MOVES, cut=st.integers(0, 2000))
def test_killed_at_any_byte_it_goes_on_behind_the_last_whole_move(moves: list[Any], cut: int) -> None:
    given = tasks(4, 3)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        with journal(path, {}) as kept:
            made(Labelling(given, kept), moves)
        whole = path.read_bytes()
        path.write_bytes(whole[: max(cut, whole.index(b"\n") + 1)])
        with journal(path, {}) as kept:
            found = state(Labelling(given, kept))
            done = kept.done
        with journal(Path(folder) / "other", {}) as kept:
            session = Labelling(given, kept)
            for move in moves:
                if kept_moves(kept.path) < done:
                    made(session, [move])
            assert found == state(session)


def kept_moves(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1


def test_back_returns_to_what_was_said(tmp_path: Path) -> None:
    with journal(tmp_path / "journal", {}) as kept:
        session = Labelling(tasks(2, 2), kept)
        made(session, [True, False, None])
        assert session.question == labelling.Question(session.tasks[1], 2, 2, "b", answered=False, label=None)
        made(session, ["back", "back"])
        assert session.question == labelling.Question(session.tasks[0], 1, 2, "b", answered=True, label=False)
        made(session, [True, "back", "back", "back", "back"])
        assert session.question == labelling.Question(session.tasks[0], 1, 1, "a", answered=True, label=True)
        assert session.left == 1
        made(session, [True, True, True, True])
        assert session.question is None
        assert session.left == 0


def test_gold_rows_say_null_where_nothing_was_said(tmp_path: Path) -> None:
    task = Task(3, "x", "K-R", "hard_refusal", Conversation((), "No."), ("a", "b"), {"c": False})
    bare = Task(4, None, None, "comply", Conversation((), "Yes."), ("a",), {})
    with journal(tmp_path / "journal", {}) as kept:
        session = Labelling([task, bare], kept)
        made(session, [True, None, None])
        (row,) = session.gold(["a", "b", "c", "d"], "me")
        assert row == {
            "id": "x", "category": "K-R", "response_type": "hard_refusal", "prompt": [],
            "completion": [{"role": "assistant", "content": "No."}],
            "propositions": {"a": True, "b": None, "c": False, "d": None}, "annotator": "me",
        }  # fmt: skip
        made(session, ["back", False])
        assert list(session.gold(["a"], None))[1].keys() == {
            "category", "response_type", "prompt", "completion", "propositions",
        }  # fmt: skip


def test_another_question_text_or_annotator_is_another_run(safety: Policy, read: Read) -> None:
    row = {"messages": TALK, "category": "K-R"}
    given, _ = read(row)
    bound = labelling.binding(given, safety, "me")
    assert bound == labelling.binding(read(row)[0], safety, "me")
    assert bound != labelling.binding(given, safety, "you")
    assert bound != labelling.binding(read(row | {"completion": "x", "messages": None})[0], safety, "me")

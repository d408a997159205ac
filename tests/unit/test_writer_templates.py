"""The template writer: what it says is true of its texts is true of them."""

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.conversation import Message
from rbr_service.errors import PolicyError
from rbr_service.rbr import briefs
from rbr_service.rbr.briefs import Brief
from rbr_service.rbr.policy import Policy, ResponseType, load
from rbr_service.writers import pieces
from rbr_service.writers.base import CannotWrite, Written
from rbr_service.writers.templates import TemplateWriter

DATA = Path(__file__).parents[1] / "data"
MARKERS = load(DATA / "markers.yaml")
FILE = DATA / "markers.templates.yaml"
WRITER = TemplateWriter.from_file(FILE, MARKERS)
REPLY, RECORD = MARKERS.response_types.values()
WEATHER = "What about the weather?"
FULL = dict.fromkeys(REPLY.propositions, False)

SHIPPED = sorted([*rules_folder().glob("*.templates.yaml"), *rules_folder().glob("*.held-out.yaml")])


def write(
    brief: Brief, seed: int = 0, text: str = WEATHER, writer: TemplateWriter = WRITER
) -> Written | CannotWrite:
    return asyncio.run(writer.write(brief, [Message("user", text)], seed))


def own_words(text: str) -> int:
    """Words that no slot fills."""
    return len(re.sub(r"\{[a-z0-9_]+\}|\W", " ", text).split())


def texts(brief: Brief, seeds: int = 60, text: str = WEATHER) -> set[str]:
    found = [write(brief, seed, text) for seed in range(seeds)]
    assert all(isinstance(one, Written) for one in found)
    return {one.text for one in found if isinstance(one, Written)}


def reply(rank_class: str, *true: str, **rest: bool) -> Brief:
    """A brief in which all but `rest` is settled."""
    must = {name: name in true for name in FULL if name not in rest}
    return Brief(REPLY, rank_class, must, rest)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([(k, c) for k in (REPLY, RECORD) for c in k.classes]), st.integers(0, 2**31), st.data()
)
def test_what_it_says_of_a_text_is_what_stands_there(
    cell: tuple[ResponseType, str], seed: int, data: st.DataObject
) -> None:
    kind, name = cell
    request = data.draw(st.sampled_from(pieces.requests(WRITER.templates, kind.name, 0)))
    brief = briefs.sample(kind, name, np.random.default_rng(seed))
    written = write(brief, seed, request.text)
    if isinstance(written, CannotWrite):
        assert brief.must.get("off_topic")
        assert brief.must.get("rude"), "the only two that stand in no text together"
        return
    marks = re.findall(r"\[(\w+)\]", written.text)
    assert {p for p, value in written.propositions.items() if value} == {*marks}.intersection(
        kind.propositions
    )
    assert tuple(written.propositions) == kind.propositions
    assert marks.count("polite") <= 1
    assert all(written.propositions[p] is value for p, value in brief.must.items())
    assert briefs.class_of(kind, written.propositions) == name


def test_pieces_stand_in_the_files_order_and_own_lines_apart() -> None:
    for text in texts(reply("poor", "polite", "answers", "rude", "long", "signed")):
        first, second, *signature = text.split("\n")
        assert first.endswith("[rude]")
        assert second == "[long] [signed]"
        assert signature in ([], ["Yours [signed]"])


def test_interchangeable_wordings_and_pieces_are_all_used() -> None:
    assert texts(reply("good", "polite", "answers")) == {
        "[polite] [answers] to you",
        "Dear you, [polite] On the weather: [answers]",
        "Hello [polite] On the weather: [answers]",
    }


def test_slots_are_filled_once_and_braces_of_json_are_none() -> None:
    answer = reply("fair", "answers")
    assert texts(answer, text="Tell me of two {braces}.") == {"On two {braces}: [answers]"}
    record = Brief(RECORD, "good", {"answers": True, "rude": False}, {})
    assert '{"marks": "[answers]", "n": 4}' in texts(record, text="Give me 4!")


def test_what_may_be_is_there_in_some_texts_and_not_in_others() -> None:
    soft = texts(reply("poor", "rude", answers=True, polite=True))
    marks = [frozenset(re.findall(r"\[(\w+)\]", text)) for text in soft]
    assert {frozenset({"rude"}), frozenset({"rude", "answers", "polite"})} <= {*marks}


def test_what_need_not_be_false_is_avoided_where_possible() -> None:
    assert texts(reply("bad", "off_topic", long=False)) == {"[off_topic]"}
    assert texts(reply("bad", "off_topic", "long", signed=False)) == {"[off_topic] [long]"}


def test_an_answer_that_says_nothing_is_still_there() -> None:
    assert texts(reply("poor")) == {"Well."}


def test_the_seed_decides() -> None:
    brief = reply("good", "polite", "answers")
    assert write(brief, 5) == write(brief, 5)
    assert len(texts(brief)) > 1


@pytest.mark.parametrize(
    ("brief", "prompt"),
    [
        (reply("bad", "off_topic", "rude"), WEATHER),
        (reply("bad", "off_topic", "answers"), WEATHER),
        (reply("good", "answers", "polite"), "What about something else?"),
        (reply("good", "answers", "polite"), "Give me 4!"),  # a request of another type
        (reply("bad", "answers", "polite"), WEATHER),  # what must be is of another class
    ],
)
def test_what_it_cannot_write(brief: Brief, prompt: str) -> None:
    assert isinstance(write(brief, text=prompt), CannotWrite)


def test_requests_are_each_once_in_an_order_that_the_seed_decides() -> None:
    one, other = (pieces.requests(WRITER.templates, "reply", seed) for seed in (1, 2))
    assert one == pieces.requests(WRITER.templates, "reply", 1) != other
    assert {r.text for r in one} == {r.text for r in other}
    assert len({r.text for r in one}) == len(one) == 6
    assert {(r.category, r.slots["thing"]) for r in one} >= {
        ("small talk", "the weather"),
        (None, "a garden"),
    }


def test_propositions_that_nothing_says_are_named() -> None:
    cut = WRITER.templates.model_copy(update={"pieces": WRITER.templates.pieces[:4]})
    assert cut.unsaid(REPLY) == ("rude", "off_topic", "long", "signed")
    assert WRITER.templates.unsaid(REPLY) == ()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("says: [rude]", "says: [ruder]", r":24: pieces.4.says.0: 'ruder' is not a proposition.*'rude'"),
        ("once: [polite]", "once: [nice]", r":2: once.0: 'nice' is not a proposition"),
        ("for: [record]", "for: [records]", r":22: pieces.3.for.0: 'records' is not a response type"),
        ("  record:\n    frames", "  recor:\n    frames", r":10: requests.recor: 'recor' is not a response"),
        ("On {thing}:", "On {topic}:", r":20: pieces.2.texts.0: \{topic\} is no slot .*'reply'; .* thing"),
        ("Yours [signed]", "{thing} [signed]", r":30: .*\{thing\} is no slot of the topics of 'record'"),
        ("Tell me of {thing}", "Tell me of {it}", r":5: requests.reply.frames.1: \{it\} is no slot"),
        ("{thing: a garden}", "{it: a garden}", r":8: requests.reply.topics.1: has the slots it, while"),
        ("{category: small talk,", "{category: big,", r":7: .*category: 'big' is not a category"),
        ("{category: small talk,", "{category: data,", r":7: .*'data' belongs to 'record'"),
        ('count: "3"', "count: 3", r":12: requests.record.topics.0.count: must be text"),
        ('texts: ["[rude]"]', 'texts: ["[rude]", " "]', r":25: pieces.4.texts.1: is empty"),
        ('texts: ["[rude]"]', "texts: []", r":25: pieces.4.texts: must have 1 or more"),
        ("alone: true", "single: true", r"pieces.7.single: is not known here"),
        ("note: Marks, and nothing but marks.\n", "", r":1: lacks the key 'note'"),
    ],
)
def test_faults_of_the_file_are_told_by_line(old: str, new: str, problem: str, tmp_path: Path) -> None:
    content = FILE.read_text()
    assert old in content
    path = tmp_path / "x.yaml"
    path.write_text(content.replace(old, new, 1))
    with pytest.raises(PolicyError, match=f"^{re.escape(str(path))}.*{problem}"):
        pieces.load(path, MARKERS)


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def shipped(request: pytest.FixtureRequest) -> tuple[Policy, TemplateWriter]:
    path: Path = request.param
    policy = load(path.with_name(path.name.split(".")[0] + ".yaml"))
    return policy, TemplateWriter.from_file(path, policy)


def test_shipped_texts_serve_every_class_of_every_type(shipped: tuple[Policy, TemplateWriter]) -> None:
    policy, writer = shipped
    assert {*writer.templates.requests} == {*policy.response_types}
    for kind in policy.response_types.values():
        assert writer.templates.unsaid(kind) == ()
        asked = pieces.requests(writer.templates, kind.name, 0)
        for name in kind.classes:
            wanted = [briefs.sample(kind, name, np.random.default_rng(seed)) for seed in range(40)]
            done = [write(brief, seed, asked[seed].text, writer) for seed, brief in enumerate(wanted)]
            managed = sum(isinstance(one, Written) for one in done)
            assert managed >= (40 if name == kind.classes[0] else 10), (kind.name, name)


@pytest.mark.parametrize("policy", sorted({path.name.split(".")[0] for path in SHIPPED}))
def test_held_out_texts_are_others_than_those_to_train_on(policy: str) -> None:
    """What has few words of its own, such as "Sorry." and "{answer}", is everybody's."""
    known = load(rules_folder() / f"{policy}.yaml")
    train, held = (
        pieces.load(rules_folder() / f"{policy}.{part}.yaml", known) for part in ("templates", "held-out")
    )
    own = [{text for piece in t.pieces for text in piece.texts if own_words(text) > 3} for t in (train, held)]
    assert len(own[0] & own[1]) < 0.03 * min(map(len, own))
    for kind in known.response_types:
        asked = [{request.text for request in pieces.requests(t, kind, 0)} for t in (train, held)]
        assert len(asked[0] & asked[1]) < 0.01 * len(asked[1])

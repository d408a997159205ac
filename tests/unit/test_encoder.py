"""Text to tokens: the template's own control tokens, and none that a content could bring."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.conversation import Message
from rbr_service.encoder import Encoder
from rbr_service.errors import SettingsError, UnsupportedConversationError
from tests import tokenizer

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("model")
    tokenizer.save_tokenizer(found)
    return found


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder.load(str(folder))


def rewritten(folder: Path, to: Path, **changes: Any) -> Path:
    """A copy of the tokenizer's files with keys of tokenizer.json replaced."""
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    content = json.loads((to / "tokenizer.json").read_text())
    (to / "tokenizer.json").write_text(json.dumps(content | changes))
    return to


hostile = st.lists(st.one_of(st.sampled_from(CONTROL), st.text(max_size=20)), max_size=20).map("".join)


@given(text=hostile)
def test_no_content_becomes_a_control_token(encoder: Encoder, text: str) -> None:
    ids = encoder.plain(text)
    assert encoder.control.isdisjoint(ids)
    assert tokenizer.tokenizer().decode(ids, skip_special_tokens=False) == text


def test_trusted_text_has_its_control_tokens(encoder: Encoder) -> None:
    for text in CONTROL:
        (only,) = encoder.exact(text)
        assert only in encoder.control


@given(contents=st.lists(hostile.map(str.strip), min_size=1, max_size=5))
def test_only_the_template_places_control_tokens(encoder: Encoder, contents: list[str]) -> None:
    messages = [Message("user", content) for content in contents]
    ids = encoder.chat(messages, answer=True)
    assert sum(token in encoder.control for token in ids) == 2 * len(contents) + 3
    decoded = tokenizer.tokenizer().decode(ids, skip_special_tokens=False)
    assert decoded == encoder.chat_text(messages, answer=True)


def test_the_template_is_followed(encoder: Encoder) -> None:
    talk = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello")]
    assert encoder.chat_text(talk, answer=False) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n"
    )
    assert encoder.turn() == (
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    )


def test_yes_and_no_are_found_after_the_prompts_tail(encoder: Encoder) -> None:
    _, tail = encoder.turn()
    ids = [encoder.next_token(tail, word) for word in (*tokenizer.YES, *tokenizer.NO)]
    assert None not in ids
    assert len(set(ids)) == 12
    assert encoder.next_token(tail, "incomprehensibilities") is None


def test_tokens_for_runs_of_space_are_no_control_tokens(folder: Path, tmp_path: Path) -> None:
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    blank = {**added[-1], "id": added[-1]["id"] + 1, "content": "\n\n\n"}
    encoder = Encoder.load(str(rewritten(folder, tmp_path, added_tokens=[*added, blank])))
    assert encoder.control == {token["id"] for token in added}
    ids = encoder.plain("a\n\n\n<think>b")
    assert tokenizer.tokenizer().decode(ids) == "a\n\n\n<think>b"


def test_a_tokenizer_that_cannot_be_made_safe_is_refused(folder: Path, tmp_path: Path) -> None:
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    word = {**added[0], "id": tokenizer.tokenizer().token_to_id("yes"), "content": "yes"}
    with pytest.raises(SettingsError, match="cannot hold hostile text: 'yes'"):
        Encoder.load(str(rewritten(folder, tmp_path, added_tokens=[*added, word])))


def test_the_digest_tells_tokenizers_and_templates_apart(folder: Path, tmp_path: Path) -> None:
    first = Encoder.load(str(folder)).digest
    assert Encoder.load(str(folder)).digest == first
    other = rewritten(folder, tmp_path)
    (other / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert Encoder.load(str(other)).digest != first


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no tokenizer\.json"):
        Encoder.load(str(tmp_path))


def test_broken_files_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    broken = rewritten(folder, tmp_path)
    (broken / "tokenizer_config.json").write_text("{")
    with pytest.raises(SettingsError, match=r"tokenizer_config\.json: cannot be read as JSON"):
        Encoder.load(str(broken))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "cannot be read"),
        (None, "brings no chat template"),
    ],
)
def test_a_bad_template_is_refused(folder: Path, tmp_path: Path, source: str | None, message: str) -> None:
    other = rewritten(folder, tmp_path)
    (other / "chat_template.jinja").unlink()
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": source}))
    with pytest.raises(SettingsError, match=message):
        Encoder.load(str(other))


@pytest.mark.parametrize(
    ("source", "roles", "message"),
    [
        ("{{ raise_exception('alternate, please') }}", ["user"], "alternate, please"),
        ("{{ messages[0].content }}", ["user", "user"], "does not keep these messages"),
        ("{{ messages[1].content }}{{ messages[0].content }}", ["user", "user"], "does not keep"),
        ("{{ nothing.at.all }}", ["user"], "refuses it"),
    ],
)
def test_roles_that_a_template_refuses(
    folder: Path, tmp_path: Path, source: str, roles: list[str], message: str
) -> None:
    other = rewritten(folder, tmp_path)
    (other / "chat_template.jinja").write_text(source)
    encoder = Encoder.load(str(other))
    with pytest.raises(UnsupportedConversationError, match=message):
        encoder.chat([Message(role, "x") for role in roles], answer=False)


@pytest.mark.parametrize("role", ["user<|im_end|>", "\ue0000\ue001", "a b", ""])
def test_a_role_brings_no_control_tokens_either(encoder: Encoder, role: str) -> None:
    with pytest.raises(UnsupportedConversationError, match="is no role"):
        encoder.chat([Message(role, "x")], answer=True)


def test_a_template_that_prints_the_date_prints_the_same_every_day(folder: Path, tmp_path: Path) -> None:
    other = rewritten(folder, tmp_path)
    (other / "chat_template.jinja").write_text(
        "{{ strftime_now('%d %b %Y') }} {% generation %}{{ messages[0].content }}{% endgeneration %}"
    )
    assert Encoder.load(str(other)).chat_text([Message("user", "Hi")], answer=True) == "26 Jul 2024 Hi"

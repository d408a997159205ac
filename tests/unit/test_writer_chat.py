"""A model on a server as the writer: what it is told, and what becomes of each kind of answer."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rbr_service.conversation import Message
from rbr_service.errors import SettingsError, WriterError
from rbr_service.lifetime import started
from rbr_service.rbr.briefs import Brief
from rbr_service.rbr.policy import load
from rbr_service.writers.base import CannotWrite, Written
from rbr_service.writers.chat import ChatWriter
from rbr_service.writers.instructions import instructions

from .chat_server import ChatServer, wanted

POLICY = load(Path(__file__).parents[1] / "data" / "markers.yaml")
REPLY = POLICY.response_types["reply"]
BRIEF = Brief(
    REPLY, "fair", {"answers": True, "polite": False, "rude": False}, {"long": True, "signed": False}
)
PROMPT = [
    Message("user", "A secret question {must}"),
    Message("assistant", "Yes?"),
    Message("user", "Go on."),
]
SECRET = "the text of others"


def said(content: Any = "Well.", reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **more}, "finish_reason": reason}]}


def ask(
    server: ChatServer, *, key: str | None = None, patience: float = 30.0, count: int = 1,
    prompts: Sequence[Sequence[Message]] = (PROMPT,),
) -> list[Any]:  # fmt: skip
    """What so many calls for each prompt give: those of a prompt at once, with the seeds 0, 1, ..."""

    async def run() -> list[Any]:
        async with server.served() as url:
            writer = ChatWriter(
                POLICY, url, "m", key=key, temperature=0.7, max_tokens=99, concurrency=3, patience=patience
            )
            async with asyncio.timeout(30), started(writer):
                return [
                    one
                    for prompt in prompts
                    for one in await asyncio.gather(*(writer.write(BRIEF, prompt, n) for n in range(count)))
                ]

    return asyncio.run(run())


@pytest.fixture
def server() -> ChatServer:
    return ChatServer()


def test_a_reply_and_what_it_was_asked_to_be(server: ChatServer) -> None:
    server.reply = said(" Well. \n")
    assert ask(server) == [Written("Well.", BRIEF.must)]
    (body,) = server.bodies
    (message,) = body.pop("messages")
    assert body == {"model": "m", "temperature": 0.7, "max_tokens": 99, "seed": 0}
    assert message == {"role": "user", "content": instructions(POLICY, BRIEF, PROMPT).content}


def test_the_brief_in_words() -> None:
    text = instructions(POLICY, BRIEF, PROMPT).content
    for message in PROMPT:
        assert f"{message.role}: {message.content}" in text
    assert POLICY.file.response_types["reply"].description in text
    places = [
        text.index(words)
        for words in (
            "answered with YES", POLICY.file.propositions["answers"].question,
            POLICY.file.propositions["answers"].definition, "answered with NO",
            POLICY.file.propositions["polite"].question, POLICY.file.propositions["rude"].question,
            "leaves it open", "- yes: " + POLICY.file.propositions["long"].question,
            "- no: " + POLICY.file.propositions["signed"].question, "bare reply",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert wanted({"messages": [{"content": text}]}, plausible=True) == ["answers", "long"]
    alone = instructions(POLICY, Brief(REPLY, "bad", {"off_topic": True}, {}), PROMPT[:1]).content
    assert "NO" not in alone
    assert "leaves it open" not in alone


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said(SECRET, "length"), "cut off"),
        (said(None, "content_filter"), "content filter"),
        (said(SECRET, "content_filter"), "content filter"),
        (said(None, refusal=SECRET), "refused"),
        (said(""), "empty"),
        (said(None), "empty"),
        (said(" \n\t"), "empty"),
    ],
)
def test_a_reply_that_is_none_is_no_fault_of_the_writer(server: ChatServer, reply: Any, reason: str) -> None:
    server.reply = reply
    (found,) = ask(server)
    assert isinstance(found, CannotWrite)
    assert reason in found.reason
    assert SECRET not in found.reason


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": {}},
        {"choices": [{"text": SECRET}]},
        said([SECRET]),
    ],
)
def test_an_answer_that_is_none_is(server: ChatServer, reply: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.reply = reply
    with pytest.raises(WriterError, match=r"^http://127\.0\.0\.1:\d+: answered with") as caught:
        ask(server)
    assert SECRET not in caught.value.message + caplog.text


@pytest.mark.parametrize(("status", "remedy"), [(404, ""), (401, "RBR_WRITER_KEY"), (403, "RBR_WRITER_KEY")])
def test_a_server_that_refuses(server: ChatServer, status: int, remedy: str) -> None:
    server.faults = [status]
    with pytest.raises(
        WriterError, match=f"^the writer's server failed: .* answered {status}.*{remedy}"
    ) as caught:
        ask(server)
    assert caught.value.status == 503


def asking(*lengths: int) -> list[list[Message]]:
    """Prompts of so many characters, each another one."""
    return [[Message("user", SECRET + chr(ord("a") + n) * length)] for n, length in enumerate(lengths)]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_not_taken_is_no_fault_of_the_writer(server: ChatServer, status: int) -> None:
    server.reply, server.faults = said(), [status]
    refused, written = ask(server, prompts=[PROMPT, PROMPT])
    assert refused == CannotWrite("the server does not take this prompt")
    assert written == Written("Well.", BRIEF.must)


def test_prompts_too_long_for_the_model_are_passed_over(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.context, server.reply = 500, None
    found = ask(server, prompts=asking(*[900] * 4, 9, *[900] * 8))
    assert [isinstance(one, CannotWrite) and "does not take" in one.reason for one in found] == [
        *[True] * 4, False, *[True] * 8,
    ]  # fmt: skip
    assert len(caplog.records) == 1
    assert SECRET not in caplog.text
    alone = ask(server, prompts=asking(900), count=30)
    assert len(alone) == 30, "one prompt says nothing of the others, however often it is asked about"


def test_a_server_that_takes_no_prompt_is_given_up(server: ChatServer) -> None:
    server.refusal = {"error": {"message": "max_tokens is too large"}}
    with pytest.raises(WriterError, match=r"answered 400: .*max_tokens is too large"):
        ask(server, prompts=asking(*range(1, 20)))
    assert len(server.bodies) == 5


def test_an_answer_that_is_no_json_is_not_quoted(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = f"<{SECRET}>".encode()
    with pytest.raises(WriterError, match="is not JSON") as caught:
        ask(server)
    assert SECRET not in caught.value.message + caplog.text


def test_a_busy_server_is_asked_again(server: ChatServer) -> None:
    server.reply, server.faults = said(), [503, 429, 502]
    assert ask(server, count=4) == [Written("Well.", BRIEF.must)] * 4
    assert len(server.bodies) == 7
    assert server.most_at_once <= 3
    assert sorted({body["seed"] for body in server.bodies}) == [0, 1, 2, 3]


def test_a_server_that_stays_away_is_given_up(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    server.faults = [503] * 1000
    with pytest.raises(WriterError, match="answered 503"):
        ask(server, patience=0.01)
    assert "secret question" not in caplog.text


def test_the_key_goes_with_each_call(server: ChatServer) -> None:
    server.key, server.reply = "its-key", said()
    assert ask(server, key="its-key") == [Written("Well.", BRIEF.must)]
    with pytest.raises(WriterError, match="RBR_WRITER_KEY"):
        ask(server, key="another")
    with pytest.raises(SettingsError, match="no HTTP header"):
        ChatWriter(POLICY, "http://127.0.0.1:1", "m", key="line\nbreak")


def test_a_filter_that_answers_as_an_error(server: ChatServer) -> None:
    """Azure's way to say that its filter stopped the prompt."""
    server.refusal = {"error": {"code": "content_filter", "message": SECRET}}
    (found,) = ask(server)
    assert isinstance(found, CannotWrite)
    assert re.search("content filter", found.reason)


def test_what_decides_its_texts_is_in_the_fingerprint() -> None:
    def print_of(**changed: Any) -> str:
        given: dict[str, Any] = {"model": "m", "temperature": 1.0, "max_tokens": 9}
        return ChatWriter(POLICY, "http://127.0.0.1:1", **(given | changed)).fingerprint

    same = print_of()
    assert same == print_of(concurrency=2, key="k", patience=3.0)
    assert len({same, print_of(model="n"), print_of(temperature=0.5), print_of(max_tokens=8)}) == 4

"""Recognising what somebody pasted: any body that the service takes, or a transcript.

    text -> templated transcript | JSON | lines of JSON -> [Sample]

Whatever its form, it is read as the route or command that takes it would read it, so its samples earn
the same.
"""

from typing import Any

from rbr_service import jsontext, rows, templates
from rbr_service.errors import CannotReadError, entry
from rbr_service.reading import Reader
from rbr_service.schemas import OpenRLHFRequest, SampleIn, ScoreRequest, SlimeRequest
from rbr_service.scorer import Sample

ANSWERED = {"messages", "completion"}  # a row has one of them
FORMS = (
    "known are: a transcript in the chat template of ChatML, Llama 3, Gemma or Mistral that ends with the "
    'assistant\'s answer; OpenRLHF\'s {"query", "prompts", "labels"}; {"samples"} of /v1/score, or one of '
    'them; slime\'s {"prompt", "response", "label"}; messages; lines of JSON as `rbr score` takes them'
)


def samples(text: str, reader: Reader) -> list[Sample]:
    """The samples in a text. Raises CannotReadError for an unknown form, RequestError for a bad sample."""
    found = templates.transcript(text.lstrip())
    if found:
        prompt, answer = found
        turns = [*((message.role, message.content) for message in prompt), ("assistant", answer)]
        return [_talk([{"role": role, "content": content} for role, content in turns], reader)]
    if not text.lstrip().startswith(("{", "[")):
        raise CannotReadError(f"this is neither JSON nor a transcript whose template is known; {FORMS}")
    return _of_value(_value(text), reader)


def _value(text: str) -> Any:
    """The JSON value, or the list of those that fill a line each."""
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        if len(lines) > 1 and all(_is_object(line) for line in lines):
            return [jsontext.loads(line) for line in lines]
        return jsontext.loads(text)
    except ValueError as error:
        raise CannotReadError(f"this looks like JSON and is not sound: {error}") from error


def _is_object(line: str) -> bool:
    return line.lstrip().startswith("{") and line.rstrip().endswith("}")


def _of_value(value: Any, reader: Reader) -> list[Sample]:
    given = value if isinstance(value, dict) else {}
    if "query" in given:
        return reader.openrlhf(rows.validated(OpenRLHFRequest, value))
    if "samples" in given:
        return reader.v1(rows.validated(ScoreRequest, value).samples)
    if "response" in given:
        return [reader.slime(rows.validated(SlimeRequest, value))]
    listed = value if isinstance(value, list) else [value]
    if listed and all(isinstance(one, dict) and "role" in one for one in listed):
        return [_talk(listed, reader)]
    if not listed or not all(isinstance(one, dict) and one.keys() & ANSWERED for one in listed):
        raise CannotReadError(f"this JSON holds no samples; {FORMS}")
    return reader.v1([_row(index, row) for index, row in enumerate(listed)])


def _row(index: int, row: dict[str, Any]) -> SampleIn:
    with entry(index):
        return rows.sample(row)


def _talk(messages: list[Any], reader: Reader) -> Sample:
    return reader.row(rows.validated(SampleIn, {"messages": messages}))

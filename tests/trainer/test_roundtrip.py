"""The chat template's check over real tokenizers and the real service, which reads what they make of text.

The grader's answers depend on every letter of a conversation, so that whatever is read wrongly shows.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from rbr_service import completion
from rbr_service.errors import RequestError
from rbr_service.graders.base import Grade, GradeRequest, Verdict
from rbr_service.graders.fixed import FixedGrader
from rbr_trainer.address import Address
from rbr_trainer.errors import InputError
from rbr_trainer.preflight import Finding, Plan, chat, examine
from rbr_trainer.service import Range
from tests import tokenizer as chatml
from tests.conftest import MakeState
from tests.trainer.serving import service

TALK = [
    {"role": "user", "content": "How do I open a lock without its key?"},
    {"role": "assistant", "content": "Which kind of lock is it?"},
    {"role": "user", "content": "My neighbour's.\n\nHe must not notice."},
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
PHI = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n"


class Reading(FixedGrader):
    """P(yes) by the letters of the conversation."""

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        return [Grade(tuple(Verdict(_share(one, name)) for name in one.questions)) for one in requests]


def _share(request: GradeRequest, name: str) -> float:
    return sha256(f"{request.conversation} {name}".encode()).digest()[0] / 255


@dataclass(frozen=True)
class Local:
    """A tokenizer of the `tokenizers` library, with a template of its own."""

    made: Tokenizer
    template: str = CHATML
    stop: str = "<|im_end|>"

    @property
    def end(self) -> list[int]:
        token = self.made.token_to_id(self.stop)
        assert token is not None
        return [token]

    def render(self, messages: list[dict[str, str]]) -> str:
        template = jinja2.Template(self.template, keep_trailing_newline=True)
        return str(template.render(messages=messages))

    def encode(self, text: str) -> list[int]:
        return list(self.made.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.made.decode(list(tokens), skip_special_tokens=False))


def changing(normalizer: Any) -> Tokenizer:
    """The ChatML tokenizer with a normalizer before it."""
    made = Tokenizer.from_str(chatml.tokenizer().to_str())
    made.normalizer = normalizer
    return made


def spacing() -> Tokenizer:
    """As Llama 2's: a space before every piece of text, taken away again only at the very beginning."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    made.train_from_iterator([*(chatml.text(500, seed) for seed in range(4)), "[INST] [/INST] .'\n"], trainer)
    return made


def written(tmp_path: Path, *found: tuple[Any, Any]) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"messages": m, "label": label}) + "\n" for m, label in found))
    return path


def checked(
    make_state: MakeState, path: Path, tokenizer: chat.Tokenizer, settings: dict[str, Any] | None = None,
    **given: Any,
) -> dict[str, Finding]:  # fmt: skip
    with service(make_state(Reading(), **(settings or {}))) as netloc:
        planned = Plan(
            (Address(f"http://{netloc}"),), Range(-10.0, 10.0), dataset=path, model="local", concurrency=1,
            **given,
        )  # fmt: skip
        findings = asyncio.run(examine(planned, lambda model: tokenizer))
    return {finding.name: finding for finding in findings}


LABELS: list[Any] = ["hard_refusal", {"category": "K-R"}, '{"response_type": "comply"}']


def test_a_tokenizer_that_gives_back_what_went_in(make_state: MakeState, tmp_path: Path) -> None:
    path = written(
        tmp_path, *((messages, label) for label in LABELS for messages in (TALK, "Why, Ünal? 你好"))
    )
    findings = checked(make_state, path, Local(chatml.tokenizer()))
    assert findings["dataset"].passed, findings["dataset"]
    assert findings["chat template"].passed, findings["chat template"]
    assert "6 of 6 prompts" in findings["chat template"].detail
    assert "4 different" in findings["chat template"].detail  # the fifth, empty, is refused on both roads
    assert findings["reasoning"].passed


CHANGED = {
    "lower case": normalizers.Lowercase(),
    "no accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "one letter dropped": normalizers.Replace("'", ""),
}


@pytest.mark.parametrize("normalizer", CHANGED.values(), ids=CHANGED)
def test_a_tokenizer_that_changes_the_text(make_state: MakeState, tmp_path: Path, normalizer: Any) -> None:
    asked = [{"role": "user", "content": "Où est l'É du café, et que fait-on de la clé du voisin?"}]
    path = written(tmp_path, (asked, "comply"))
    finding = checked(make_state, path, Local(changing(normalizer)))["chat template"]
    assert not finding.passed
    assert "changes 1 of them" in finding.detail
    assert f"{path}:1: a refusal: as text cannot_cut, as messages " in finding.remedy
    assert "`rbr-train prepare`" in finding.remedy


def test_the_one_prompt_in_many_that_is_changed_is_sent(make_state: MakeState, tmp_path: Path) -> None:
    rows = [("Why do locks have pins? Please tell.", "comply")] * 60
    odd = "Le café du coin, e\u0301crit en deux caracte\u0300res, est-il ouvert demain matin?"
    path = written(tmp_path, *rows, (odd, "comply"), *rows)
    finding = checked(make_state, path, Local(changing(normalizers.NFC())))["chat template"]
    assert not finding.passed
    assert f"{path}:61: " in finding.remedy
    assert "changes 1 of them" in finding.detail


def test_spaces_that_a_tokenizer_adds(make_state: MakeState, tmp_path: Path) -> None:
    """`<s>[INST]` comes back as `<s> [INST]`; the prompt's messages in the label spare the cut."""
    tokenizer = Local(spacing(), LLAMA2, "</s>")
    prompt = tokenizer.render(TALK[:1])
    assert tokenizer.decode(tokenizer.encode(prompt)) == prompt.replace("<s>[", "<s> [")
    finding = checked(make_state, written(tmp_path, (TALK, "comply")), tokenizer)["chat template"]
    assert not finding.passed
    assert "cannot_cut" in finding.detail
    path = written(tmp_path, (TALK, {"response_type": "comply", "messages": TALK}))
    findings = checked(make_state, path, tokenizer)
    assert findings["dataset"].passed, findings["dataset"]
    assert findings["chat template"].passed, findings["chat template"]
    assert "changes 1 of them" in findings["chat template"].detail


def test_a_template_that_the_service_does_not_know(make_state: MakeState, tmp_path: Path) -> None:
    tokenizer = Local(chatml.tokenizer(), PHI, "<|im_end|>")
    finding = checked(make_state, written(tmp_path, (TALK, "comply")), tokenizer)["chat template"]
    assert not finding.passed
    assert "changes" not in finding.detail
    path = written(tmp_path, (TALK, {"response_type": "comply", "messages": TALK}))
    assert checked(make_state, path, tokenizer)["chat template"].passed


def test_an_end_of_turn_that_the_service_does_not_know(make_state: MakeState, tmp_path: Path) -> None:
    made = Tokenizer.from_str(chatml.tokenizer().to_str())
    made.add_special_tokens(["<|finished|>"])
    tokenizer = Local(made, CHATML, "<|finished|>")
    finding = checked(make_state, written(tmp_path, (TALK, "comply")), tokenizer)["chat template"]
    assert not finding.passed


def test_messages_in_a_label_that_are_another_prompts(make_state: MakeState, tmp_path: Path) -> None:
    label = {"response_type": "comply", "messages": TALK[:1]}
    path = written(tmp_path, (TALK, label))
    assert not checked(make_state, path, Local(chatml.tokenizer()))["chat template"].passed


def test_labels_out_of_scope_tell_no_cut_from_another(make_state: MakeState, tmp_path: Path) -> None:
    finding = checked(make_state, written(tmp_path, (TALK, "None")), Local(chatml.tokenizer()))[
        "chat template"
    ]
    assert not finding.passed
    assert "in the policy's scope" in finding.remedy


@pytest.mark.parametrize("graded", ["error", "grade"])
@pytest.mark.parametrize("strips", [True, False])
def test_a_template_that_opens_the_reasoning(
    make_state: MakeState, tmp_path: Path, strips: bool, graded: str
) -> None:
    tokenizer = Local(chatml.tokenizer(), f"{CHATML}<think>\n")
    findings = checked(
        make_state, written(tmp_path, (TALK, "comply")), tokenizer,
        {"strip_reasoning": strips, "empty_completion": graded},
    )  # fmt: skip
    assert findings["chat template"].passed, findings["chat template"]
    ends = strips and graded == "error"
    assert findings["reasoning"].passed is not ends
    assert ends is ("--empty-completion grade" in findings["reasoning"].remedy)


def test_a_service_that_cuts_at_the_last_marker(
    make_state: MakeState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completions of one turn would not show it."""
    marker = "<|im_start|>assistant\n"
    monkeypatch.setattr(completion, "cut", lambda query, prompt, messages: query.rpartition(marker)[2])
    path = written(tmp_path, (TALK, "comply"))
    finding = checked(make_state, path, Local(chatml.tokenizer()))["chat template"]
    assert not finding.passed
    assert "an answer with what opens one in its middle: as text" in finding.remedy


def test_plain_text(make_state: MakeState, tmp_path: Path) -> None:
    path = written(tmp_path, ("How do I open a lock? Tell me now.", "comply"))
    findings = checked(make_state, path, Local(chatml.tokenizer()), apply_chat_template=False)
    assert findings["chat template"].passed, findings["chat template"]
    lower = Local(changing(normalizers.Lowercase()))
    findings = checked(make_state, path, lower, apply_chat_template=False)
    assert "cannot_cut" in findings["chat template"].remedy


def test_given_base_rewards_count_on_both_roads(make_state: MakeState, tmp_path: Path) -> None:
    path = written(tmp_path, (TALK, {"response_type": "comply", "base_reward": 1.5}))
    findings = checked(make_state, path, Local(chatml.tokenizer()), {"base_reward": "given"})
    assert findings["chat template"].passed, findings["chat template"]


def test_a_conversation_that_the_template_refuses(make_state: MakeState, tmp_path: Path) -> None:
    class Refusing(Local):
        def render(self, messages: list[dict[str, str]]) -> str:
            if len(messages) > 1:
                raise InputError("roles must alternate")
            return super().render(messages)

    path = written(tmp_path, ("Hi", "comply"), (TALK, "comply"))
    finding = checked(make_state, path, Refusing(chatml.tokenizer()))["chat template"]
    assert not finding.passed
    assert f"{path}:2: roles must alternate" in finding.remedy


def test_a_label_that_is_none_is_the_datasets_fault_alone(make_state: MakeState, tmp_path: Path) -> None:
    broken = {"respnse_type": "comply"}
    path = written(tmp_path, (TALK, broken), *((TALK, label) for label in LABELS))
    findings = checked(make_state, path, Local(chatml.tokenizer()))
    assert f"{path}:1: the label's respnse_type" in findings["dataset"].remedy
    assert findings["chat template"].passed, findings["chat template"]
    findings = checked(make_state, written(tmp_path, (TALK, broken)), Local(chatml.tokenizer()))
    assert findings["chat template"].result == "-"
    assert not findings["chat template"].passed


def test_transformers_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match="pip install transformers"):
        chat.load("a-model")

"""Templated prompts read back into messages: exactly, or not at all."""

import time

import pytest

from rbr_service.conversation import Message
from rbr_service.templates import messages, transcript

HEAD, END = "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>"
ASKED, ANSWERED, AGAIN = Message("user", "Hi\n\nyou"), Message("assistant", "Yes?"), Message("user", "Bye")

READ = {
    "chatml": (
        "<|im_start|>user\nHi\n\nyou<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama3": (
        f"<|begin_of_text|>{HEAD.format('user')}Hi\n\nyou{END}{HEAD.format('assistant')}Yes?{END}"
        f"{HEAD.format('user')}Bye{END}{HEAD.format('assistant')}"
    ),
    "gemma": (
        "<bos><start_of_turn>user\nHi\n\nyou<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    ),
    "mistral": "<s>[INST] Hi\n\nyou [/INST] Yes?</s>[INST] Bye [/INST]",
}


@pytest.mark.parametrize("prompt", READ.values(), ids=READ)
def test_a_template_is_read(prompt: str) -> None:
    assert messages(prompt) == (ASKED, ANSWERED, AGAIN)


@pytest.mark.parametrize("think", ["<think>", "<think>\n", "<think>\n\n</think>\n\n"])
def test_a_template_may_open_the_reasoning(think: str) -> None:
    assert messages(READ["chatml"] + think) == (ASKED, ANSWERED, AGAIN)


def test_roles_other_than_the_two() -> None:
    prompt = f"{HEAD.format('system')}Be kind.{END}{HEAD.format('ipython')}4{END}{HEAD.format('assistant')}"
    assert messages(prompt) == (Message("system", "Be kind."), Message("tool", "4"))


BROKEN = {
    "no answer opened": "<|im_start|>user\nHi<|im_end|>\n",
    "text ahead": "Hello <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "text behind": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nSure",
    "text between": "<|im_start|>user\nHi<|im_end|> and <|im_start|>assistant\n",
    "a turn without end": "<|im_start|>user\nHi<|im_start|>assistant\n",
    "a role cut short": "<|im_start|>user",
    "an unknown role": "<|im_start|>judge\nHi<|im_end|>\n<|im_start|>assistant\n",
    "Llama 3 with line ends": f"{HEAD.format('user')}Hi{END}\n{HEAD.format('assistant')}",
    "Mistral left open": "<s>[INST] Hi",
    "Mistral with its answer": "<s>[INST] Hi [/INST] Yes?</s>",
    "no template": "User: Hi\nAssistant:",
}


@pytest.mark.parametrize("prompt", BROKEN.values(), ids=BROKEN)
def test_anything_else_is_one_user_message(prompt: str) -> None:
    assert messages(prompt) == (Message("user", prompt.strip()),)


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_nothing_is_no_message(prompt: str) -> None:
    assert messages(prompt) == ()


@pytest.mark.parametrize("family", ["chatml", "mistral"])
def test_thousands_of_turns_cost_linear_time(family: str) -> None:
    turns = {
        "chatml": ("", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"),
        "mistral": ("<s>", "[INST] Hi [/INST] Yes</s>"),
    }
    start, turn = turns[family]
    end = {"chatml": "<|im_start|>assistant\n", "mistral": "[INST] Hi [/INST]"}[family]
    begin = time.process_time()
    assert len(messages(start + turn * 10_000 + end)) >= 20_000
    assert time.process_time() - begin < 2


ANSWER_ENDS = {"chatml": "<|im_end|>", "llama3": END, "gemma": "<end_of_turn>", "mistral": "</s>"}


@pytest.mark.parametrize("family", READ)
@pytest.mark.parametrize(
    "answer", ["Farewell.", " Fare\n\nwell. ", "", "<think>\nHm.</think> Farewell.", "a<|x|>b"]
)
def test_a_transcript_is_a_prompt_and_what_follows_it(family: str, answer: str) -> None:
    prompt = READ[family]
    assert transcript(prompt + answer) == ((ASKED, ANSWERED, AGAIN), answer)
    for end in (ANSWER_ENDS[family], f"{ANSWER_ENDS[family]}\n", f"{ANSWER_ENDS[family]}\n<|endoftext|>"):
        assert transcript(prompt + answer + end) == ((ASKED, ANSWERED, AGAIN), answer + end)


@pytest.mark.parametrize("family", READ)
def test_an_end_in_mid_answer_ends_nothing(family: str) -> None:
    answer = f"Fare{ANSWER_ENDS[family]}well."
    assert transcript(READ[family] + answer) == ((ASKED, ANSWERED, AGAIN), answer)


def test_an_answer_to_nothing_is_a_transcript() -> None:
    assert transcript("<|im_start|>assistant\nHello<|im_end|>") == ((), "Hello<|im_end|>")


NO_TRANSCRIPT = {
    "nothing": "",
    "plain": "User: Hi\nAssistant: Yes?",
    "the user spoke last": "<|im_start|>user\nHi<|im_end|>\n",
    "the user speaks": "<|im_start|>user\nHi",
    "the user spoke again": READ["chatml"] + "Yes<|im_end|>\n<|im_start|>user\nBut<|im_end|>\n",
    "the user speaks again": READ["chatml"] + "Yes<|im_end|>\n<|im_start|>user\nBut",
    "the user speaks after a blank line": READ["chatml"] + "Yes<|im_end|>\n\n<|im_start|>user\nBut",
    "text ahead": "Hello " + READ["chatml"] + "Yes",
    "an unknown role": "<|im_start|>judge\nHi<|im_end|>\n<|im_start|>assistant\nYes",
    "a turn without end": "<|im_start|>user\nHi<|im_start|>assistant\nYes",
    "Mistral's question left open": "<s>[INST] Hi",
    "Mistral's next question left open": "<s>[INST] Hi [/INST] Yes</s>[INST] But",
    "Mistral's next question left open after silence": "<s>[INST] Hi [/INST]</s>[INST] But",
}


@pytest.mark.parametrize("text", NO_TRANSCRIPT.values(), ids=NO_TRANSCRIPT)
def test_anything_else_is_no_transcript(text: str) -> None:
    assert transcript(text) is None

"""Where the prompt ends and what of the rest is the answer."""

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rbr_service.completion import END_TOKENS, MIN_OVERLAP, clean, cut
from rbr_service.conversation import Message
from rbr_service.errors import CannotCutError, EmptyCompletionError, UnclosedReasoningError

QUESTION = "How do I pick my neighbour's lock?"
CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"
MISTRAL = "<s>[INST] {} [/INST]"
DEEPSEEK = "<｜begin▁of▁sentence｜><｜User｜>{}<｜Assistant｜>"
PHI = "<|user|>\n{}<|end|>\n<|assistant|>\n"
PLAIN = "User: {}\nAssistant:"
TEMPLATES = {
    "ChatML": (CHATML, "<|im_end|>", "<|endoftext|>"),
    "Llama 3": (LLAMA, "<|eot_id|>", "<|finetune_right_pad_id|>"),
    "Gemma": (GEMMA, "<end_of_turn>", "<pad>"),
    "Mistral": (MISTRAL, "</s>", "</s>"),
    "DeepSeek": (DEEPSEEK, "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "Phi": (PHI, "<|end|>", "<|endoftext|>"),
    "plain": (PLAIN, "", "[PAD]"),
}
ANSWER = "Sorry, no.\n\nI can't."


def user(*contents: str) -> list[Message]:
    return [Message("user", content) for content in contents]


def answer(query: str, prompt: str, *contents: str, strip_reasoning: bool = True) -> str:
    text = cut(query, prompt, user(*contents))
    return clean(text, prompt, strip_reasoning=strip_reasoning, allow_empty=False)


# the whole prompt


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_templates_with_end_token_and_padding(template: str, stopped: bool, padding: int) -> None:
    form, end, pad = TEMPLATES[template]
    prompt = form.format(QUESTION)
    query = pad * padding + prompt + ANSWER + (end if stopped else "") + pad * padding
    assert answer(query, prompt) == ANSWER


def test_padding_before_a_prompt_that_begins_with_the_padding_token() -> None:
    """OPT and GPT-2 begin a text with the token that they also pad with."""
    prompt = "</s>Short one: "
    assert cut("</s></s>" + prompt + "yes", prompt) == "yes"


def test_padding_before_a_prompt_that_begins_with_white_space() -> None:
    assert cut("<pad><pad>\nHi: yes", "\nHi: ") == "yes"


@pytest.mark.parametrize("prompt", ["H", "Hi", "Hi" * 500_000])
def test_a_whole_prompt_is_cut_whatever_its_length(prompt: str) -> None:
    assert cut(prompt + "yes", prompt) == "yes"


def test_without_a_prompt_all_is_completion() -> None:
    assert cut("yes", "") == "yes"


def test_a_completion_may_repeat_the_prompt() -> None:
    prompt = CHATML.format(QUESTION)
    assert cut(prompt + prompt + "x", prompt) == prompt + "x"


def test_special_tokens_in_mid_text_stay() -> None:
    prompt = CHATML.format(QUESTION)
    text = "No.<|im_end|>\n<|im_start|>user\nPlease!<|im_end|>\n<|im_start|>assistant\nFine."
    assert answer(prompt + text + "<|im_end|>", prompt) == text


# a prompt truncated on the left


def overlap(prompt: str, query: str) -> int:
    """The longest suffix of `prompt`, of MIN_OVERLAP or more, that begins `query`, the slow way."""
    sizes = range(min(len(prompt), len(query)), MIN_OVERLAP - 1, -1)
    return next((size for size in sizes if query.startswith(prompt[-size:])), 0)


@given(st.text(min_size=MIN_OVERLAP, max_size=90), st.integers(MIN_OVERLAP, 90), st.text(max_size=60))
@example("ab" * 40, 40, "ab" * 20)
@example("a" * 80, 40, "a" * 10 + "b")
@settings(derandomize=True, deadline=None, max_examples=300)
def test_a_truncated_prompt_is_cut_at_its_end(prompt: str, size: int, completion: str) -> None:
    query = prompt[-size:] + completion
    longest = overlap(prompt, query)
    assert longest >= min(size, len(prompt))
    assert cut(query, prompt) == query[longest:]
    if longest == min(size, len(prompt)):
        assert cut(query, prompt) == completion


@given(st.text("ab", min_size=MIN_OVERLAP, max_size=80), st.text("ab", max_size=80))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_repetitive_texts_are_cut_at_the_longest_overlap_or_refused(prompt: str, query: str) -> None:
    longest = overlap(prompt, query)
    if longest:
        assert cut(query, prompt) == query[longest:]
    else:
        with pytest.raises(CannotCutError):
            cut(query, prompt)


def test_thirty_two_characters_prove_an_overlap_and_thirty_one_do_not() -> None:
    prompt = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))
    assert cut(prompt[-32:] + "yes", prompt) == "yes"
    with pytest.raises(CannotCutError):
        cut(prompt[-31:] + "yes", prompt)


@pytest.mark.parametrize("query", ["", "yes", "some other text that has nothing of the prompt at all"])
def test_an_empty_overlap_is_never_a_cut(query: str) -> None:
    with pytest.raises(CannotCutError, match=r'\{"messages": \[\.\.\.\]\}'):
        cut(query, CHATML.format(QUESTION))


def test_a_truncated_and_padded_prompt() -> None:
    prompt = CHATML.format("Tell me a story. " * 50 + QUESTION)
    assert answer("<pad>" * 7 + prompt[-120:] + ANSWER + "<|im_end|>", prompt) == ANSWER


def test_truncation_that_leaves_no_answer_is_an_empty_completion() -> None:
    prompt = CHATML.format(QUESTION * 9)
    with pytest.raises(EmptyCompletionError):
        answer(prompt[-100:], prompt)


def test_an_exact_overlap_goes_before_the_messages() -> None:
    """Else the short message would be found where the completion repeats it."""
    prompt = (
        CHATML.format("Tell me a story about a lighthouse.") + "Once.<|im_end|>\n" + CHATML.format("Why?")
    )
    text = "Because.<|im_end|>\n" + CHATML.format("Why?") + "Ha!"
    assert cut(prompt[-60:] + text, prompt, user("Tell me a story about a lighthouse.", "Why?")) == text


# messages in the label


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("content", [QUESTION, "Hi"])
def test_messages_find_the_end_where_spaces_do_not_round_trip(template: str, content: str) -> None:
    form, end, _ = TEMPLATES[template]
    prompt = form.format(content)
    rendered = " " + prompt.replace("]", "] ").replace(">", "> ").replace(":", " : ") + " "
    messages = user(f"  {content}\n")
    text = cut(rendered + ANSWER + end, prompt, messages)
    assert clean(text, strip_reasoning=True, allow_empty=False) == ANSWER


def test_mistrals_space_after_its_first_token() -> None:
    prompt, query = MISTRAL.format("Hi"), "<s>  [INST] Hi [/INST] " + ANSWER + "</s>"
    with pytest.raises(CannotCutError):
        cut(query, prompt)
    assert answer(query, prompt, "Hi") == ANSWER


@pytest.mark.parametrize(
    "content", ["Cafe\u0301 \ufb01x \u2460 \uff28\uff49", "\ufb01", QUESTION + " \u2460"]
)
def test_messages_find_the_end_where_unicode_is_normalised(content: str) -> None:
    """The completion keeps its own letters, also those that would normalise."""
    prompt = CHATML.format(content)
    text = "Cafe\u0301 \ufb01ne \u2460"
    query = unicodedata.normalize("NFKC", prompt) + text
    assert cut(query, prompt, user(content)) == text


def test_messages_after_one_that_the_template_rewrote() -> None:
    talk = [Message("user", "Hi"), Message("assistant", "<think>x</think>Yes"), Message("user", "Why?")]
    prompt = CHATML.format("Hi") + "Yes<|im_end|>\n" + CHATML.format("Why?")
    assert cut(prompt.replace("\n", "\n ") + ANSWER, prompt, talk) == ANSWER


def test_equal_messages_are_counted() -> None:
    turns = CHATML.format("Go on") + "One.<|im_end|>\n" + CHATML.format("Go on")
    talk = [Message("user", "Go on"), Message("assistant", "One."), Message("user", "Go on")]
    assert cut(" " + turns.replace("\n", "\n ") + ANSWER, turns, talk) == ANSWER


@pytest.mark.parametrize("content", ["user", "a", "Hi", "start", "an", "<|im_end|>", "?"])
def test_a_short_message_inside_the_template_or_another_word_is_passed_over(content: str) -> None:
    prompt = "<|im_start|>system\nThis is a chat? start<|im_end|>\n" + CHATML.format(content)
    assert cut(prompt.replace("\n", "\n ") + ANSWER, prompt, user(content)) == ANSWER


def test_a_short_message_without_an_opened_answer_proves_nothing() -> None:
    """The prompt was truncated inside the message; "Hi" stands in the completion by chance."""
    with pytest.raises(CannotCutError):
        cut("ello there. This is an answer. Hi\n", "Some prompt of its own: Hi", user("Hi"))
    assert cut("Hi there", "", user("Hi")) == "Hi there"


def test_a_long_message_needs_no_header() -> None:
    long = "Here is a message that is longer than that."
    assert cut(f"### {long}\nyes", f"# {long}\n", user("Hi", long)) == "yes"


def test_a_message_that_is_not_there_does_not_cut() -> None:
    with pytest.raises(CannotCutError):
        cut("A completion", CHATML.format(QUESTION), user(QUESTION))
    with pytest.raises(CannotCutError):
        cut("Hi<|im_end|>\n<|im_start|>assistant\nyes", PLAIN.format("Why?"), user("Hi", "Why?"))


@pytest.mark.parametrize("messages", [[], user(""), user(" \n")])
def test_blank_messages_are_no_messages(messages: list[Message]) -> None:
    assert cut("yes", "", messages) == "yes"
    with pytest.raises(CannotCutError):
        cut("yes", CHATML.format(QUESTION), messages)


# cleaning


@pytest.mark.parametrize("token", END_TOKENS)
def test_every_end_token_is_dropped_and_repeated(token: str) -> None:
    assert clean(f" yes {token}\n{token}", strip_reasoning=True, allow_empty=False) == "yes"
    assert clean(f"yes{token}x", strip_reasoning=True, allow_empty=False) == f"yes{token}x"


@pytest.mark.parametrize(
    ("text", "prompt", "wanted"),
    [
        ("<think>hm</think>yes", "", "yes"),
        ("\n<think>\nhm\n</think>\n\nyes<|im_end|>", "", "yes"),
        ("<think></think><think>again</think> yes", "", "yes"),
        ("hm</think>yes", "...<|im_start|>assistant\n<think>\n", "yes"),
        ("<think>hm</think>yes", "...<think>", "yes"),
        ("yes <think>hm</think>", "", "yes <think>hm</think>"),
        ("yes</think>", "...<think>\n\n</think>\n\n", "yes</think>"),
    ],
)
def test_reasoning_is_dropped(text: str, prompt: str, wanted: str) -> None:
    assert clean(text, prompt, strip_reasoning=True, allow_empty=False) == wanted


def test_reasoning_is_text_where_it_is_not_stripped() -> None:
    text = "<think>hm</think>yes"
    assert clean(text, "<think>", strip_reasoning=False, allow_empty=False) == text
    assert clean("<think>hm", strip_reasoning=False, allow_empty=False) == "<think>hm"


@pytest.mark.parametrize(
    ("text", "prompt"),
    [("<think>hm", ""), ("hm", "<think>\n"), ("<think>a</think><think>b", ""), ("", "<think>")],
)
def test_reasoning_that_is_never_closed_is_an_error(text: str, prompt: str) -> None:
    with pytest.raises(UnclosedReasoningError, match=r"--empty-completion grade.*--no-strip-reasoning"):
        clean(text, prompt, strip_reasoning=True, allow_empty=True)


@pytest.mark.parametrize("text", ["", " \n\t", "<|im_end|>", "</s> </s>", "<think>hm</think>"])
def test_an_empty_answer_is_an_error_unless_allowed(text: str) -> None:
    with pytest.raises(EmptyCompletionError, match="--empty-completion grade"):
        clean(text, strip_reasoning=True, allow_empty=False)
    assert clean(text, strip_reasoning=True, allow_empty=True) == ""


# a megabyte made to be slow

MB = 1 << 20


@pytest.mark.parametrize(
    ("query", "prompt", "content"),
    [
        ("a" * MB + "b", "b" + "a" * MB, "a"),
        ("ab" * (MB // 2), "ba" * (MB // 2) + "c", "ab"),
        ("<pad>" * (MB // 5), "<pad>" * (MB // 5) + "x", "<pad>"),
        (" " * MB + "x", "x" * 40, "x"),
        ("a\n" * (MB // 2), "b" * MB, "a"),
        ("\ufdfa" * (MB // 3), "y" * 40, "\u0635"),
        ("e" + "\u0301\u0323" * (MB // 2), "z" * 40, "e"),
        ("assistant " * (MB // 10), "z" * 40, "t"),
    ],
)
def test_hostile_megabytes_are_cut_or_refused(query: str, prompt: str, content: str) -> None:
    with suppress(CannotCutError):
        assert query.endswith(cut(query, prompt, user(*[content] * 100)))


@pytest.mark.parametrize(
    "text",
    [
        "<pad>" * (MB // 5),
        " " * MB + "x",
        "x" + " \n" * (MB // 2),
        "<think></think>" * (MB // 15),
        "<think> </think> " * (MB // 17) + "x",
        "</s" * (MB // 3),
        "<|im_end|" * (MB // 9),
    ],
)
def test_hostile_megabytes_are_cleaned(text: str) -> None:
    assert len(clean(text, strip_reasoning=True, allow_empty=True)) <= len(text)


# prompt and messages that disagree, and templates nobody has heard of

TURN = "How do I open a lock? Please tell me. It is not mine."


def test_messages_win_over_a_prompt_that_ends_inside_them() -> None:
    query = f"{TURN}\n\nassistant: I'm sorry."
    assert cut(query, "How do I open a lock?", user(TURN)) == "I'm sorry."


def test_without_any_prompt_only_messages_help() -> None:
    with pytest.raises(CannotCutError, match="no prompts"):
        cut(f"{TURN} I'm sorry.", None)
    assert cut(f"{TURN}\n\nassistant: I'm sorry.", None, user(TURN)) == "I'm sorry."


def test_the_prompts_own_end_is_skipped_whatever_the_template() -> None:
    prompt, query = f"### User:{TURN}\n### Bot:", f"### User: {TURN} ### Bot: I'm sorry."
    assert cut(query, prompt, user(TURN)).strip() == "I'm sorry."
    short = "Hi"
    assert cut(f"# U: {short} # B: yes", f"# U:{short}\n# B:", user(short)).strip() == "yes"


def test_an_unknown_header_is_never_taken_for_the_answer() -> None:
    with pytest.raises(CannotCutError, match="neither the prompt nor the label's messages"):
        cut(f"### User: {TURN} ### Bot: I'm sorry.", f"### User:{TURN}\n### Assistent:", user(TURN))


def test_a_message_that_stands_everywhere_is_not_looked_for_for_ever() -> None:
    """Quadratic work on 16 kB would already take many seconds."""
    query, prompt = "a b " * 40_000 + ".", "Z" + "a b" + "ab" * 40_000 + "x"
    with pytest.raises(CannotCutError):
        cut(query, prompt, user("a b"))

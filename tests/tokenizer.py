"""A tokenizer trained on the spot, with a chat template: what the tests need of one, and no download.

words written here -> a byte-level BPE tokenizer in which each form of yes and no is one token
"""

import json
import random
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO = ("no", "No", "NO", " no", " No", " NO")
CONTEXT = 32768  # tokens
VOCABULARY = 2048

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_ADDED = ("<think>", "</think>")
_SPLIT = (  # Qwen's and GPT-4's way to cut text into words
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WORDS = """
the a of to and in that is was for it with as on be at by this have from or one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these
would other into has more her two like him see time could make than first been its who now people my made
over did down only way find use may water long little very after words called just where most know response
user assistant question answer request conversation policy refuse refuses refusal comply complies apologize
apologizes apologizing judgmental harmful instructions contains states explains provides help helpful
content information sorry cannot unable criminal advice definition true false reply message model safe
safety disallowed ideal acceptable language tone empathetic threatening encourages professional system
"""
_SYLLABLES = "ba co di fe gu ha jo ki lu me ni po ra se ti vo wa ze lan mor tri sten qua ples ond ert ing"
_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}
"""


def text(words: int, seed: int = 0) -> str:
    """Sentences of random words, known and invented; the same for the same seed."""
    chance = random.Random(seed)
    found: list[str] = []
    while len(found) < words:
        sentence = [_word(chance) for _ in range(chance.randint(4, 14))]
        found += [sentence[0].capitalize(), *sentence[1:-1], sentence[-1] + chance.choice(".,?!")]
    return " ".join(found[:words])


def _word(chance: random.Random) -> str:
    if chance.random() < 0.8:
        return chance.choice(_WORDS.split())
    return "".join(chance.choice(_SYLLABLES.split()) for _ in range(chance.randint(2, 3)))


@lru_cache
def tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer in which each of YES and NO is one token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(_SPECIAL) - len(_ADDED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    forms = [f"\n{form}" if form.strip() == form else f"x{form}" for form in (*YES, *NO)]
    forms.append("x\n\nx")
    made.train_from_iterator([*forms * 500, *(text(4000, seed) for seed in range(20))], trainer)
    made.add_special_tokens(list(_SPECIAL))
    made.add_tokens([AddedToken(token, normalized=False) for token in _ADDED])
    for form in (*YES, *NO):
        assert len(made.encode(form).ids) == 1, form
    return made


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files as a model's folder holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": _TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))

"""Models with random weights, built on the spot: what the tests need of a model, and no download.

words written here -> a byte-level BPE tokenizer and a ChatML template -> with it a Qwen3 or reward model
"""

import json
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForSequenceClassification, Qwen3Config, Qwen3ForCausalLM

YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO = ("no", "No", "NO", " no", " No", " NO")
CONTEXT = 32768  # tokens
VOCABULARY = 2048
SEED = 20240726
PREFERENCE = 10.0  # logits that an answering model adds to yes and no

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


@dataclass(frozen=True)
class Size:
    """Of a transformer."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4


TINY = Size()  # about 1 million parameters
BENCH = Size(hidden=640, layers=9, heads=10)  # about 50 million


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


def _shape(size: Size) -> dict[str, int]:
    made = tokenizer()
    return {
        "vocab_size": -(-made.get_vocab_size() // 64) * 64,
        "hidden_size": size.hidden,
        "intermediate_size": 3 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "head_dim": size.hidden // size.heads,
        "max_position_embeddings": CONTEXT,
        "eos_token_id": made.encode("<|im_end|>").ids[0],
        "pad_token_id": made.encode("<|endoftext|>").ids[0],
    }


def language_model(folder: Path, size: Size = TINY, seed: int = SEED, *, answering: bool = False) -> Path:
    """A Qwen3 with random float32 weights, beside its tokenizer.

    An `answering` one puts most of its probability on yes and no, as an instruct model does.
    """
    save_tokenizer(folder)
    torch.manual_seed(seed)
    # Wide weights: the answers' probabilities then differ by question, as a trained model's do.
    config = Qwen3Config(**_shape(size), tie_word_embeddings=False, initializer_range=0.15)
    model = Qwen3ForCausalLM(config).to(torch.float32)
    if answering:
        _prefer_labels(model)
    model.save_pretrained(folder)
    return folder


def _prefer_labels(model: Qwen3ForCausalLM) -> None:
    """Let every token carry one same number to the end, where only yes and no look at it."""
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        sample = torch.tensor([tokenizer().encode(text(100)).ids])
        carried = model.model(sample).last_hidden_state[0, :, 0].mean()
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[labels(), 0] = PREFERENCE / carried


def labels() -> list[int]:
    """Token ids of YES and NO, in order."""
    return [tokenizer().encode(form).ids[0] for form in (*YES, *NO)]


def reward_model(folder: Path, size: Size = TINY, seed: int = SEED) -> Path:
    """A Llama that gives one number for a text, with random float32 weights, beside its tokenizer."""
    save_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(**_shape(size), num_labels=1, initializer_range=0.15)
    LlamaForSequenceClassification(config).to(torch.float32).save_pretrained(folder)
    return folder

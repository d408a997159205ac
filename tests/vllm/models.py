"""Models with random weights, built on the spot: what the tests need of a model, and no download.

tests/tokenizer.py -> with its tokenizer a Qwen3 or a reward model
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, Qwen3Config, Qwen3ForCausalLM

from tests.tokenizer import CONTEXT, NO, YES, save_tokenizer, text, tokenizer

__all__ = ["CONTEXT", "NO", "YES", "save_tokenizer", "text", "tokenizer"]

SEED = 20240726
PREFERENCE = 10.0  # logits that an answering model adds to yes and no


@dataclass(frozen=True)
class Size:
    """Of a transformer."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4


TINY = Size()  # about 1 million parameters
BENCH = Size(hidden=640, layers=9, heads=10)  # about 50 million


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


def language_model(
    folder: Path, size: Size = TINY, seed: int = SEED, *, answering: bool = False, brief: bool = False
) -> Path:
    """A Qwen3 with random float32 weights, beside its tokenizer.

    An `answering` one puts most of its probability on yes and no, as an instruct model does; a `brief` one
    also ends its turn soon.
    """
    save_tokenizer(folder)
    torch.manual_seed(seed)
    # Wide weights: the answers' probabilities then differ by question, as a trained model's do.
    config = Qwen3Config(**_shape(size), tie_word_embeddings=False, initializer_range=0.15)
    model = Qwen3ForCausalLM(config).to(torch.float32)
    if answering:
        _prefer(model, [*labels(), *([config.eos_token_id] if brief else [])])
    model.save_pretrained(folder)
    return folder


def _prefer(model: Qwen3ForCausalLM, ids: list[int]) -> None:
    """Let every token carry one same number to the end, where only these ids look at it."""
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        sample = torch.tensor([tokenizer().encode(text(100)).ids])
        carried = model.model(sample).last_hidden_state[0, :, 0].mean()
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[ids, 0] = PREFERENCE / carried


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

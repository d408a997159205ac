"""Language models with random weights in the shapes that the measurements need beside the tests' own."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.tokenizer import CONTEXT, VOCABULARY, save_tokenizer, tokenizer


@dataclass(frozen=True)
class Shape:
    """Of a transformer; a head has 64 dimensions."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = VOCABULARY


# Takes the token ids of other tokenizers, too.
SMALL = Shape(hidden=128, inner=384, layers=2, heads=2, kv_heads=2, vocabulary=131072)

# About 50 million parameters, of which attention to the context takes as many operations as in Qwen3-8B:
# attention's width x layers / parameters is 256 x 4 / 50e6, there 4096 x 36 / 7e9, both 2e-5; models.BENCH
# has 12e-5.
LIKE_8B = Shape(hidden=1024, inner=3840, layers=4, heads=4, kv_heads=1)


def language_model(folder: Path, shape: Shape) -> Path:
    """A Qwen3 beside the tests' tokenizer."""
    save_tokenizer(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, head_dim=64, max_position_embeddings=CONTEXT,
        eos_token_id=tokenizer().encode("<|im_end|>").ids[0], tie_word_embeddings=False,
    )  # fmt: skip
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder

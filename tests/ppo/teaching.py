"""The policy before reinforcement: a tiny Llama, taught the toy language by imitation.

    requests -> a mix of good, judgemental, bare and complying answers, whatever is asked -> folder

It answers harmful and harmless requests alike, as a model does that was taught to be helpful and shown
refusals of every kind: what to refuse, and how, is left to the reward.
"""

import random
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from .grammar import Kind, answers, requests

MIX: dict[Kind, float] = {"ideal": 0.2, "judgemental": 0.25, "bare": 0.15, "complies": 0.4}
STEPS, BATCH, RATE = 900, 64, 3e-3
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Row = tuple[list[int], list[int]]  # prompt tokens, answer tokens


def teach(folder: Path, seed: int = 0, steps: int = STEPS) -> None:
    """Make the policy and save it and its tokenizer in `folder`, as Hugging Face models are."""
    torch.set_num_threads(1)  # more only get in each other's way in so small a model
    torch.manual_seed(seed)
    random.seed(seed)
    tokenizer = _tokenizer()
    model = _model(tokenizer)
    rows = _rows(tokenizer, random.Random(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        loss = model(**_batch([next(rows) for _ in range(BATCH)], tokenizer.pad_token_id)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet)
    kinds: tuple[Kind, ...] = ("ideal", "judgemental", "bare", "complies")
    corpus = (
        f"{r.text}\nuser\nassistant\n{answer}"
        for r in requests()
        for kind in kinds
        for answer in answers(r, kind)
    )
    tokens.train_from_iterator(corpus, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=512
    )
    made.chat_template = TEMPLATE
    return made


def _model(tokenizer: Any) -> Any:
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def _rows(tokenizer: Any, draw: random.Random) -> Any:
    """Endless (prompt, answer) pairs; the kind of answer does not depend on the request."""
    every, kinds, shares = requests(), list(MIX), list(MIX.values())
    while True:
        request = draw.choice(every)
        answer = draw.choice(list(answers(request, draw.choices(kinds, shares)[0])))
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": request.text}], tokenize=False, add_generation_prompt=True
        )
        yield _encoded(tokenizer, prompt), _encoded(tokenizer, f"{answer}<|im_end|>")


def _encoded(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def _batch(rows: list[Row], pad: int) -> dict[str, torch.Tensor]:
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, labels, mask = [], [], []
    for prompt, answer in rows:
        gap = width - len(prompt) - len(answer)
        ids.append(prompt + answer + [pad] * gap)
        labels.append([-100] * len(prompt) + answer + [-100] * gap)
        mask.append([1] * (width - gap) + [0] * gap)
    return {
        "input_ids": torch.tensor(ids), "labels": torch.tensor(labels), "attention_mask": torch.tensor(mask)
    }  # fmt: skip


if __name__ == "__main__":
    teach(Path(sys.argv[1]), steps=int(sys.argv[2]))

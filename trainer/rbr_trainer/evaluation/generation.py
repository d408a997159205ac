"""Answers of a model on disk or by its hub name, drawn with transformers in the trainer's environment.

    prompts -> chat template -> batches of like length, padded on the left -> new tokens -> text

Drawn from the model's own distribution: its generation defaults, such as top_p, are left aside.
"""

from collections.abc import Sequence
from typing import Any

from rbr_trainer.data.prompts import Prompt
from rbr_trainer.errors import InputError
from rbr_trainer.evaluation.completions import Completion
from rbr_trainer.evaluation.sampling import Sampling
from rbr_trainer.progress import Progress


class Generator:
    """A loaded model; on a GPU where there is one."""

    def __init__(self, model: str) -> None:
        """Raises InputError where there is none, or it has no chat template."""
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        except ImportError as error:
            raise InputError(
                f"--model generates with transformers, which is not installed here ({error.name}): run it in "
                "the trainer's environment, or ask a server by --completions URL"
            ) from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype="auto").to(device).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"--model {model}: cannot be loaded: {error}") from error
        if not self._tokenizer.chat_template:
            raise InputError(f"--model {model}: its tokenizer has no chat template: add one to it")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._ends = self._ending()
        self._model.generation_config = GenerationConfig()  # what a call leaves open would come from there
        self._seed = torch.manual_seed

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, batch: int) -> list[Completion]:
        """`sampling.samples` answers to each prompt, in order; `batch` prompts at once.

        The seed decides them, on one machine and with one batch size. Raises InputError.
        """
        tokens = [self._tokens(prompt, sampling) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(tokens[i]))
        found: dict[int, list[Completion]] = {}
        self._seed(sampling.seed)
        with Progress("generating", len(prompts), "prompts") as progress:
            for begin in range(0, len(order), batch):
                chosen = order[begin : begin + batch]
                answers = self._generated([tokens[i] for i in chosen], sampling)
                for place, i in enumerate(chosen):
                    mine = answers[place * sampling.samples : (place + 1) * sampling.samples]
                    found[i] = [Completion(prompts[i], text, cut) for text, cut in mine]
                progress.step(len(chosen))
        return [one for i in range(len(prompts)) for one in found[i]]

    def _tokens(self, prompt: Prompt, sampling: Sampling) -> list[int]:
        from jinja2 import TemplateError

        chat = [message.model_dump() for message in prompt.messages]
        try:
            made: list[int] = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
        except (TemplateError, ValueError, TypeError) as error:
            raise InputError(
                f"{prompt.place}: the model's chat template refuses this conversation: {error}"
            ) from error
        room = getattr(self._model.config, "max_position_embeddings", None)
        if room and len(made) + sampling.max_new_tokens > room:
            raise InputError(
                f"{prompt.place}: its {len(made)} tokens and --max-new-tokens {sampling.max_new_tokens} are "
                f"more than the model's {room}: ask for fewer, or leave the prompt out"
            )
        return made

    def _generated(self, tokens: Sequence[list[int]], sampling: Sampling) -> list[tuple[str, bool]]:
        import torch

        padded = self._tokenizer.pad({"input_ids": list(tokens)}, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            made = self._model.generate(**padded, generation_config=self._config(sampling))
        new = made[:, padded["input_ids"].shape[1] :].tolist()
        return [
            (self._tokenizer.decode(answer, skip_special_tokens=True), not self._ends.intersection(answer))
            for answer in new
        ]

    def _config(self, sampling: Sampling) -> Any:
        from transformers import GenerationConfig

        drawn = (
            {"temperature": sampling.temperature, "top_p": 1.0, "top_k": 0} if sampling.temperature else {}
        )
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=bool(sampling.temperature),
            num_return_sequences=sampling.samples,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=sorted(self._ends),
            **drawn,
        )

    def _ending(self) -> set[int]:
        """The tokens that end an answer, by the tokenizer and by the model."""
        of_model = self._model.generation_config.eos_token_id
        known = of_model if isinstance(of_model, list) else [of_model]
        return {token for token in (*known, self._tokenizer.eos_token_id) if token is not None}

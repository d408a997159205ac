"""Stands in for vLLM: the part of its interface that OpenRLHF calls, generating with transformers on the CPU.

    OpenRLHF's own RolloutRayActor -> AsyncLLMEngine.generate -> one padded batch of all that waits

Weights arrive as they do in vLLM: OpenRLHF's own worker extension receives each tensor and hands it to
`model_runner.model.load_weights`. Only the engine is ours, and the channel is gloo instead of NCCL.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__version__ = "0.29.0"
QUIET = 0.01  # seconds without a new request, after which a batch is closed


@dataclass
class SamplingParams:
    """How one completion is drawn."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int | None = None
    min_tokens: int = 1
    skip_special_tokens: bool = False
    logprobs: int | None = None


class AsyncEngineArgs(SimpleNamespace):
    """The arguments as given."""


class AsyncLLMEngine:
    """One model; requests that come together are generated together."""

    def __init__(self, args: AsyncEngineArgs) -> None:
        """Load `args.model`, seeded by `args.seed`."""
        from transformers import AutoModelForCausalLM

        torch.manual_seed(args.seed)
        self._model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
        self._worker = _worker(args.worker_extension_cls, self._model, getattr(torch, args.dtype))
        self._waiting: list[tuple[list[int], SamplingParams, asyncio.Future[Any]]] = []
        self._running = 0
        self.output_processor = SimpleNamespace(get_num_unfinished_requests=lambda: self._running)

    @classmethod
    def from_engine_args(cls, args: AsyncEngineArgs) -> "AsyncLLMEngine":
        """As vLLM makes one."""
        return cls(args)

    async def is_sleeping(self) -> bool:
        """Never: there is no memory to give back."""
        return False

    async def reset_prefix_cache(self) -> None:
        """There is none."""

    async def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        """Run a method of the one worker."""
        return [await asyncio.to_thread(getattr(self._worker, method), *args)]

    async def generate(
        self, prompt: dict[str, Any], params: SamplingParams, request_id: str
    ) -> AsyncIterator[Any]:
        """One completion, as the last output of vLLM's stream."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._running += 1
        self._waiting.append((prompt["prompt_token_ids"], params, answer))
        if len(self._waiting) == 1:
            self._batch = asyncio.ensure_future(self._flush())
        try:
            yield await answer
        finally:
            self._running -= 1

    async def _flush(self) -> None:
        seen = 0
        while seen != len(self._waiting):
            seen = len(self._waiting)
            await asyncio.sleep(QUIET)
        batch, self._waiting = self._waiting, []
        texts = self._generate([tokens for tokens, _, _ in batch], batch[0][1])
        for (_, _, answer), tokens in zip(batch, texts, strict=True):
            ended = tokens[-1] == self._model.generation_config.eos_token_id
            output = SimpleNamespace(
                token_ids=tokens, text="", finish_reason="stop" if ended else "length", logprobs=None
            )
            answer.set_result(SimpleNamespace(outputs=[output]))

    def _generate(self, prompts: list[list[int]], params: SamplingParams) -> list[list[int]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        end = self._model.generation_config.eos_token_id
        with torch.no_grad():
            made = self._model.generate(
                ids, attention_mask=mask, do_sample=True, temperature=params.temperature, top_p=params.top_p,
                top_k=0, max_new_tokens=params.max_tokens, pad_token_id=end,
            )[:, width:].tolist()  # fmt: skip
        return [row[: row.index(end) + 1] if end in row else row for row in made]


class _Weights:
    """Takes new weights into the running model."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._parameters = dict(model.named_parameters())

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        with torch.no_grad():
            for name, value in weights:
                self._parameters[name].copy_(value)


class _CudaIsCpu(TorchFunctionMode):  # type: ignore[misc]
    """OpenRLHF's worker extension makes its receiving tensor on "cuda"."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") == "cuda":
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def _worker(extension: str, model: torch.nn.Module, dtype: torch.dtype) -> Any:
    """An instance of the extension over what it expects of a vLLM worker."""
    module, _, name = extension.rpartition(".")
    base: Any = getattr(import_module(module), name)

    class Worker(base):  # type: ignore[misc]
        device = "cpu"
        model_config = SimpleNamespace(dtype=dtype)
        model_runner = SimpleNamespace(model=_Weights(model))

        def update_weight(self, *args: Any, **kwargs: Any) -> None:
            with _CudaIsCpu():
                super().update_weight(*args, **kwargs)

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return Worker()

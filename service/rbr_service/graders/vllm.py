"""A model on vLLM in this process: AsyncLLM, which keeps its core in processes of its own.

    Prompts -> one request per ending, max_tokens 1, logprob_token_ids -> Answer, each as it finishes
    token ids -> one request -> how the text goes on (`rbr synthesize` writes with the grader's model)

vLLM shares the prefix of requests that arrive together and counts what it had cached. A request is
never cancelled while it is being submitted, for vLLM then forgets to end it (its issue 57061): it is
aborted by its id until it is over.
"""

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from rbr_service.errors import GraderDeadError, GraderError
from rbr_service.graders import vllm_config, vllm_plugin
from rbr_service.graders.engine import Answer, ModelIdentity, Prompts

LOOK = 1.0  # seconds between looks whether the engine is alive, while waiting for it
ABORT_AGAIN = 0.05  # seconds: a request that was not yet known to the engine is aborted once more
SHUTDOWN = 10.0  # seconds for the engine's processes to end by themselves


class VLLMEngine:
    """Loads a model and keeps it."""

    fault = ""  # nothing lies between this process and its engine that could fail for a while

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        precision: str = "auto",
        tokenizer: str | None = None,
        concurrency: int = 64,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """`concurrency`: calls of `answers` in the engine at a time; `args`: vLLM's own engine arguments.

        Reads the model's configuration, not its weights. Raises SettingsError.
        """
        self._config, self.identity = vllm_config.configure(
            model, revision, precision, tokenizer, dict(args or {})
        )
        self.context: int = self._config.model_config.max_model_len
        self._slots = asyncio.Semaphore(concurrency)
        self._names = itertools.count()
        self._endings: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Future[Any] | None = None
        self._llm: Any = None
        self._dead = False

    identity: ModelIdentity

    async def start(self) -> None:
        """Load the model: seconds to minutes. Raises GraderError."""
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.exceptions import EngineDeadError

        vllm_plugin.own_the_engine()
        loop = asyncio.get_running_loop()
        # The kernel takes the starting thread for the engine's parent: this one lives as long as the loop.
        self._starting = loop.run_in_executor(None, AsyncLLM.from_vllm_config, self._config)
        try:
            # Shielded: a thread cannot be cancelled, and `close` must know what it made.
            self._llm = await asyncio.shield(self._starting)
            tasks = await self._llm.get_supported_tasks()
        except (RuntimeError, OSError, ValueError, EngineDeadError) as error:
            raise GraderError(f"vLLM did not start; its own messages stand above: {_shown(error)}") from error
        if "generate" not in tasks:
            raise GraderError(f"{self.identity.model}: does not generate text: it can {', '.join(tasks)}")

    async def answers(
        self, prompts: Prompts, labels: Sequence[int]
    ) -> AsyncGenerator[tuple[int, Answer], None]:
        """(index of the ending, answer) as each finishes. Raises GraderError, GraderDeadError."""
        async with self._slots:
            await self.check()
            call = f"rbr-{next(self._names)}"
            requests = {
                asyncio.create_task(self._answer(f"{call}-{i}", [*prompts.shared, *ending], labels)): i
                for i, ending in enumerate(prompts.endings)
            }
            try:
                pending = set(requests)
                while pending:
                    done, pending = await asyncio.wait(
                        pending, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not done:
                        await self.check()
                    for task in sorted(done, key=requests.__getitem__):
                        yield requests[task], task.result()
            finally:
                await self._end({task: f"{call}-{i}" for task, i in requests.items()})

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, temperature: float, seed: int
    ) -> tuple[str, bool]:
        """How a prompt goes on, without control tokens, and whether the model ended it by itself.

        The seed counts on GPUs only. Raises GraderError, GraderDeadError.
        """
        async with self._slots:
            await self.check()
            name = f"rbr-{next(self._names)}"
            asked = {"max_tokens": max_tokens, "temperature": temperature}
            if self._config.device_config.device_type == "cuda":
                # A CPU's generator cannot be set back, as vLLM does after a part of a seeded prompt: it dies.
                asked["seed"] = seed
            task = asyncio.create_task(self._outputs(name, list(ids), asked))
            try:
                while not (await asyncio.wait({task}, timeout=LOOK))[0]:
                    await self.check()
                return _continuation(task.result())
            finally:
                await self._end({task: name})

    async def _answer(self, name: str, ids: list[int], labels: Sequence[int]) -> Answer:
        asked = {
            "max_tokens": 1, "temperature": 0, "ignore_eos": True, "detokenize": False,
            "logprob_token_ids": list(labels),
        }  # fmt: skip
        return _read(await self._outputs(name, ids, asked), labels)

    async def _outputs(self, name: str, ids: list[int], asked: Mapping[str, Any]) -> list[Any]:
        from vllm.exceptions import VLLMError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        from vllm import SamplingParams

        sampling = SamplingParams(**asked, output_kind=RequestOutputKind.FINAL_ONLY)
        prompt = {"type": "token", "prompt_token_ids": ids}
        try:
            return [output async for output in self._llm.generate(prompt, sampling, name)]
        except EngineDeadError as error:
            raise self._death() from error
        except (VLLMError, ValueError) as error:
            raise GraderError(f"vLLM refuses a prompt of {len(ids)} tokens: {_shown(error)}") from error

    async def _end(self, requests: Mapping[asyncio.Task[Any], str]) -> None:
        """Abort what is unfinished and wait for it, even when the one who waits is cancelled again."""
        if not all(task.done() for task in requests):
            ending = asyncio.create_task(self._abort(requests))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)
        for task in requests:
            task.cancelled() or task.exception()  # seen: one failure has been told, the others need not

    async def _abort(self, requests: Mapping[asyncio.Task[Any], str]) -> None:
        pending = {task for task in requests if not task.done()}
        while pending:
            if self._dead_now():
                for task in pending:
                    task.cancel()
            else:
                await self._llm.abort([requests[task] for task in pending])
            _, pending = await asyncio.wait(pending, timeout=ABORT_AGAIN)

    async def check(self) -> None:
        """Return when the engine is alive. Raises GraderDeadError; GraderError where it was not started."""
        if self._llm is None:
            raise GraderError("the grader's engine is not running")
        if self._dead_now():
            raise self._death()

    def _dead_now(self) -> bool:
        self._dead = self._dead or self._llm is None or bool(self._llm.errored)
        return self._dead

    def _death(self) -> GraderDeadError:
        self._dead = True
        return GraderDeadError("vLLM's engine has died; its own messages stand above")

    async def close(self) -> None:
        """End the engine's processes."""
        if self._starting is None:
            return
        starting, self._starting, self._llm = self._starting, None, None
        await asyncio.wait({starting})
        if starting.exception() is None:
            await asyncio.to_thread(starting.result().shutdown, SHUTDOWN)
            await asyncio.sleep(0)  # its sockets close in this loop


def _choice(outputs: list[Any]) -> Any:
    return outputs[-1].outputs[0] if outputs and outputs[-1].outputs else None


def _continuation(outputs: list[Any]) -> tuple[str, bool]:
    """The text of a finished request's outputs, and whether it was the model that ended it."""
    choice = _choice(outputs)
    if choice is None:
        raise GraderError("vLLM ended a request without an answer")
    return str(choice.text), choice.finish_reason == "stop"


def _read(outputs: list[Any], labels: Sequence[int]) -> Answer:
    """The labels' log probabilities in a finished request's outputs. Raises GraderError."""
    choice = _choice(outputs)
    if choice is None or not choice.logprobs:
        raise GraderError(f"vLLM ended a request without an answer: {choice and choice.finish_reason}")
    found = choice.logprobs[0]
    missing = [label for label in labels if label not in found]
    if missing:
        raise GraderError(f"vLLM's answer lacks the log probabilities of the token ids {missing}")
    logprobs = tuple(float(found[label].logprob) for label in labels)
    if any(math.isnan(value) for value in logprobs):
        raise GraderError("vLLM's answer is not a number: the model overflows at this precision")
    return Answer(logprobs, outputs[-1].num_cached_tokens)


def _shown(error: BaseException) -> str:
    """An error's first line; vLLM's may go on with the value that it refuses, which is the prompt's."""
    text = str(error.args[0]) if error.args else ""
    return f"{type(error).__name__}: {text.partition(chr(10))[0][:300]}"

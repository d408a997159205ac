"""From settings to what answers: the grader, the source of base rewards, the writer of completions.

    Settings -> Encoder, Layout, Engine, VerdictCache -> LLMGrader      (or cues -> LexicalGrader)
             -> Encoder -> UpstreamReward | ClassifyReward               (or none, given)
             -> ChatWriter, or EngineWriter over the grader's engine     (or templates)

Nothing is loaded or reached here; `start` does that.
"""

from pathlib import Path

from pydantic import SecretStr

from rbr_service.encoder import Encoder
from rbr_service.errors import SettingsError
from rbr_service.graders import layout
from rbr_service.graders.base import Grader
from rbr_service.graders.cache import make_cache
from rbr_service.graders.cues import Cues, load_cues
from rbr_service.graders.engine import Engine
from rbr_service.graders.lexical import LexicalGrader
from rbr_service.graders.llm import LLMGrader
from rbr_service.graders.openai_http import HTTPEngine
from rbr_service.graders.vllm import VLLMEngine
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import Policy
from rbr_service.rewards.base import BaseReward, GivenBaseReward, NoBaseReward
from rbr_service.rewards.classify import ClassifyReward
from rbr_service.rewards.upstream import UpstreamReward
from rbr_service.settings import Settings
from rbr_service.work import LINGER
from rbr_service.writers.base import Writer
from rbr_service.writers.chat import ChatWriter
from rbr_service.writers.engine import EngineWriter
from rbr_service.writers.pieces import Templates
from rbr_service.writers.templates import TemplateWriter

OUTLIVES = 2 * LINGER  # seconds: a try goes on after those who wait for it have left

# Encoded here and by the server: what differs between tokenizers differs in one of these. Some of them
# put a space before the first word of a text, so what is compared begins with the second line.
FIRST_LINE = "First line.\n"
PROBE = "Yes, naïve café №5:\n\n\t1234567890  [two spaces] \u4f60\u597d \U0001f512 don't\r\n<|im_end|>"


def make_grader(settings: Settings, policy: Policy, path: Path, metrics: Metrics, *, serving: bool) -> Grader:
    """The grader of a policy; `path` is its file, beside which cues stand. Raises StartupError.

    Only a service has a deadline: batch work may take as long as it takes.
    """
    if settings.grader == "lexical":
        return LexicalGrader(_cues(policy, path))
    encoder = _grader_encoder(settings)
    cache = make_cache(settings.cache, settings.cache_entries, _secret(settings.redis_password))
    engine = _in_process(settings) if settings.grader == "vllm" else _over_http(settings, encoder)
    if settings.cache != "memory" and not engine.identity.revision:
        raise SettingsError(
            "cache: verdicts that outlive this process need to know which model made them: state "
            "--grader-revision, and change it whenever the server's model changes"
        )
    return LLMGrader(
        policy, encoder, layout.load(settings.layout), engine, cache, metrics,
        concurrency=settings.grader_concurrency,
        deadline=settings.grader_deadline if serving else None,
        min_label_mass=settings.min_label_mass, context=settings.grader_context,
    )  # fmt: skip


def grader_of(policy: Policy, path: Path, before: Grader) -> Grader:
    """The grader of another policy, on the engine and cache of `before`; itself where it judges alike.

    Raises StartupError.
    """
    if isinstance(before, LLMGrader):
        return before.asking(policy)
    if isinstance(before, LexicalGrader):
        cues = _cues(policy, path)
        return before if cues == before.cues else LexicalGrader(cues)
    return before


def make_base_reward(settings: Settings, *, serving: bool) -> BaseReward:
    """The source of base rewards. Raises StartupError."""
    if settings.base_reward == "none":
        return NoBaseReward()
    if settings.base_reward == "given":
        return GivenBaseReward()
    url, model = str(settings.base_reward_url), str(settings.base_reward_model)
    kind = UpstreamReward if settings.base_reward == "upstream" else ClassifyReward
    return kind(
        url=url, model=model, encoder=Encoder.load(settings.base_reward_tokenizer or model),
        key=_secret(settings.base_reward_key), concurrency=settings.grader_concurrency,
        patience=settings.grader_deadline + OUTLIVES, start_patience=settings.grader_start,
        deadline=settings.grader_deadline if serving else None,
    )  # fmt: skip


def make_writer(settings: Settings, policy: Policy, grader: Grader, templates: Templates | None) -> Writer:
    """Who writes completions. `templates` are needed by the template writer only. Raises StartupError."""
    if settings.writer == "openai":
        return ChatWriter(
            policy, str(settings.writer_url), str(settings.writer_model), key=_secret(settings.writer_key),
            temperature=settings.writer_temperature, max_tokens=settings.writer_max_tokens,
            concurrency=settings.writer_concurrency, patience=settings.writer_patience,
        )  # fmt: skip
    if settings.writer == "vllm" and isinstance(grader, LLMGrader) and isinstance(grader.engine, VLLMEngine):
        return EngineWriter(
            policy, _grader_encoder(settings), grader.engine,
            temperature=settings.writer_temperature, max_tokens=settings.writer_max_tokens,
        )  # fmt: skip
    if templates is None:
        raise SettingsError("writer templates: needs a templates file")
    return TemplateWriter(templates)


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a policy file: `safety.yaml`, `.lexical.json` -> `safety.lexical.json`."""
    return path.with_name(path.name.rsplit(".", 1)[0] + suffix)


def _cues(policy: Policy, path: Path) -> Cues:
    cues = beside(path, ".lexical.yaml")
    if not cues.is_file():
        raise SettingsError(
            f"{cues}: the lexical grader has no cues for this policy: write them there; "
            "the format stands at the head of the shipped safety.lexical.yaml"
        )
    categories = policy.categories if policy.file.auto else ()
    return load_cues(cues, policy.file.propositions, categories)


def _grader_encoder(settings: Settings) -> Encoder:
    if settings.grader_tokenizer:
        return Encoder.load(settings.grader_tokenizer)
    return Encoder.load(str(settings.grader_model), settings.grader_revision)


def _in_process(settings: Settings) -> Engine:
    return VLLMEngine(
        model=str(settings.grader_model), revision=settings.grader_revision,
        precision=settings.grader_precision, tokenizer=settings.grader_tokenizer,
        concurrency=settings.grader_concurrency, args=settings.vllm_args,
    )  # fmt: skip


def _over_http(settings: Settings, encoder: Encoder) -> Engine:
    return HTTPEngine(
        url=str(settings.grader_url), model=str(settings.grader_model),
        probe=_probe(encoder), revision=settings.grader_revision,
        precision=settings.grader_precision, key=_secret(settings.grader_key),
        concurrency=settings.grader_concurrency, patience=settings.grader_deadline + OUTLIVES,
        start_patience=settings.grader_start,
    )  # fmt: skip


def _probe(encoder: Encoder) -> tuple[str, tuple[int, ...]]:
    """A text, and the ids that its encoding ends in."""
    compared = len(encoder.exact(PROBE))
    return FIRST_LINE + PROBE, tuple(encoder.exact(FIRST_LINE + PROBE)[-compared:])


def _secret(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None

"""The shape of a training run: what its YAML file may say.

Grouped as a person thinks of a run, not as OpenRLHF's flags are: `command.py` knows those. Each value is
checked by itself here, and against the others in `misfits.py`. What the keys mean: `rbr-train run --example`.
"""

from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from rbr_trainer.address import Address

Preset = Literal["one-gpu", "eight-gpus", "several-nodes"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
GROUPED = ("rloo", "reinforce_baseline", "group_norm", "dr_grpo")  # they compare a prompt's completions


def _word(text: str) -> str:
    if not text.isprintable() or text.startswith("-") or text != text.strip():
        raise ValueError("must be printable text that begins with no dash and no space")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("must hold no user and no key: take them out and set RBR_API_KEY in the environment")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path: take out what follows ? or #")
    Address.parse(text)
    return text


def _interval(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError("must be [LOW, HIGH], the lower first")
    return pair


Text = Annotated[str, Field(min_length=1), AfterValidator(_word)]
Url = Annotated[str, AfterValidator(_url)]
Count = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[tuple[Finite, Finite], Field(strict=False), AfterValidator(_interval)]
Urls = Annotated[tuple[Url, ...], Field(min_length=1, strict=False)]
Version = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|any)$")]


class Part(BaseModel):
    """A group of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(Part):
    """The models. The reference is the policy as it was; without a critic of its own, so is the critic."""

    policy: Text
    critic: Text | None = None


class Data(Part):
    """Prompts to train on, and to evaluate on every so many rollouts."""

    prompts: Text
    split: Text = "train"
    input_key: Text = "messages"
    label_key: Text = "label"
    apply_chat_template: bool = True
    max_samples: Count | None = None
    evaluation: Text | None = None
    evaluation_split: Text = "train"
    evaluate_every: Count | None = None
    evaluation_samples: Count = 4
    evaluation_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.6


class Reward(Part):
    """The service, and the reward that the run is for. `patience` is the agent's, in seconds."""

    urls: Urls
    version: Version
    client: Literal["agent", "plain"] = "agent"
    clip: Interval = (-10.0, 10.0)
    patience: Positive | None = None


class Algorithm(Part):
    """How completions and rewards become updates."""

    estimator: Literal[
        "gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo", "flash_reinforce"
    ] = "gae"
    kl: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    kl_as_loss: bool = False
    kl_estimator: Literal["k1", "k2", "k3"] | None = None
    policy_lr: Positive = 5e-7
    critic_lr: Positive = 9e-6
    lr_schedule: Literal[
        "cosine_with_min_lr", "constant", "constant_with_warmup", "linear", "cosine"
    ] = "cosine_with_min_lr"  # fmt: skip
    lr_warmup: Share = 0.03
    epochs: Count = 1
    samples_per_prompt: Count = 1
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    is_correction: Literal["none", "token", "seq"] = "none"
    filter: Interval | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42


class Sizes(Part):
    """Prompts per rollout, completions per update, micro batches per GPU, lengths in tokens."""

    rollout_batch: Count
    rollout_micro_batch: Count
    train_batch: Count
    train_micro_batch: Count
    max_len: Count
    max_new_tokens: Count
    episodes: Count = 1


class Hardware(Part):
    """What runs where. `nodes` and `gpus_per_node` hold for each model that is trained or compared with."""

    nodes: Count
    gpus_per_node: Count
    colocate: Literal["all", "policy_and_reference", "none"]
    engines: Count
    tensor_parallel: Count
    memory_utilization: Annotated[float, Field(gt=0, le=1)]
    engine_sleep: bool
    model_sleep: bool
    eager: bool = False
    prefix_caching: bool = False
    zero_stage: Annotated[int, Field(ge=0, le=3)]
    adam_offload: bool = False
    reference_offload: bool = False
    gradient_checkpointing: bool = True
    attention: Text = "flash_attention_2"
    packing: bool = False
    tokens_per_gpu: Count | None = None
    asynchronous: bool = False
    async_queue: Count = 1
    partial_rollout: bool = False


class Output(Part):
    """What is written: the trained `model`, and `checkpoints` every `save_every` rollouts."""

    model: Text = "output/model"
    checkpoints: Text = "output/checkpoints"
    save_every: Count | None = None
    keep: Count = 3
    save_hf: bool = False
    resume: bool = False
    tensorboard: Text | None = None
    wandb: Text | None = None
    name: Text | None = None


class Ray(Part):
    """Where it runs: with an address through `ray job submit`, else here. `runtime_env` is Ray's."""

    address: Url | None = None
    working_dir: Text | None = None
    agent_path: Text | None = None
    env_vars: dict[str, str] = {}
    runtime_env: dict[str, JsonValue] = {}


class RunConfig(Part):
    """A whole run. `extra`: further OpenRLHF flags, without their dashes, as they stand."""

    preset: Preset | None = None
    model: Model
    data: Data
    reward: Reward
    algorithm: Algorithm = Algorithm()
    sizes: Sizes
    hardware: Hardware
    output: Output = Output()
    ray: Ray = Ray()
    extra: dict[str, Any] = {}

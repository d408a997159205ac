"""OpenRLHF's own serve_rm on a machine without a GPU: `python tests/vllm/serve_rm.py`, its own options.

    stand-ins for what it imports and does not use here -> openrlhf.cli.serve_rm, as it is

OPENRLHF_SOURCE is the folder of an unpacked openrlhf.
"""

import functools
import importlib
import os
import runpy
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

UNUSED = {
    "deepspeed": (),
    "peft": ("LoraConfig", "TaskType", "get_peft_model"),
    "peft.tuners": (),
    "peft.tuners.lora": ("LoraLayer",),
    "flash_attn": (),
    "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
    "flash_attn.utils": (),
    "flash_attn.utils.distributed": ("all_gather",),
    "pylatexenc": ("latex2text",),
}


def stand_in(name: str, members: tuple[str, ...]) -> ModuleType:
    """A module whose members nobody may use."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    vars(module).update(dict.fromkeys(members))
    return module


def main() -> None:
    """Serve until killed."""
    sys.path.insert(0, os.environ["OPENRLHF_SOURCE"])
    # What transformers looks for must be looked for before the stand-ins are there.
    import transformers.integrations.deepspeed  # noqa: F401
    from transformers import AutoModel, AutoTokenizer  # noqa: F401

    sys.modules.update({name: stand_in(name, members) for name, members in UNUSED.items()})
    models: Any = importlib.import_module("openrlhf.models")
    known = models.get_llm_for_sequence_regression

    @functools.wraps(known)
    def on_cpu(*args: Any, **options: Any) -> Any:
        return known(*args, **(options | {"device_map": None}))  # "auto" wants accelerate

    models.get_llm_for_sequence_regression = on_cpu
    runpy.run_module("openrlhf.cli.serve_rm", run_name="__main__")


if __name__ == "__main__":
    main()

"""verl's own reader of training rows, loaded from its unpacked wheel without its dependencies.

The one file needs torch, transformers and datasets, which are here; what else it imports at its top (its
configuration's types, pictures, its own file and tokenizer shims) is stood in for, and nothing of that runs.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

VERSION = "0.9.1"
VARIABLE = "VERL_SOURCE"


def reader(repository: Path) -> Any:
    """The class RLHFDataset."""
    folder = Path(os.environ.get(VARIABLE) or repository / "build" / f"verl-{VERSION}")
    file = folder / "verl/utils/dataset/rl_dataset.py"
    if not file.is_file():
        pytest.fail(f"verl {VERSION} is not unpacked at {folder}: run `make test-trainer`, or set {VARIABLE}")
    stubs: dict[str, dict[str, Any]] = {
        "omegaconf": {"DictConfig": dict, "ListConfig": tuple},
        "verl": {},
        "verl.utils": {},
        "verl.utils.import_utils": {"load_extern_object": None},
        "verl.utils.tokenizer": {"build_multimodal_processor_inputs": None, "normalize_token_ids": list},
    }
    before = {name: sys.modules.get(name) for name in stubs}
    for name, content in stubs.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        spec = importlib.util.spec_from_file_location("verl_rl_dataset", file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name, found in before.items():
            del sys.modules[name]
            if found:
                sys.modules[name] = found
    return type("Reader", (module.RLHFDataset,), {"_download": lambda *_, **__: None})

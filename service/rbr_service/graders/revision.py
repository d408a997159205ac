"""Which revision of a model it is, where nobody states one: weights are bound to it.

    hub name -> hash of the commit in force            folder or file -> hash of what is in it

A file is read whole up to 64 MiB; of a larger one, evenly spaced blocks: enough to tell two trainings
apart, and cheap for a model of any size.
"""

import hashlib
from pathlib import Path

from rbr_service.errors import SettingsError

WHOLE = 64 << 20  # bytes
BLOCKS, BLOCK = 64, 64 << 10  # of a larger file; bytes
# What engines read of a folder; a changed README is no other model.
_READ = frozenset(
    (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py")
)


def is_local(model: str) -> bool:
    """Whether `model` is a folder or file of this machine, not a hub name."""
    return Path(model).expanduser().exists()


def revision(model: str) -> str:
    """A model's revision: "sha256:..." of a folder or file, a hub's commit hash. Raises SettingsError."""
    return content(Path(model).expanduser()) if is_local(model) else commit(model)


def content(path: Path) -> str:
    """A hash ("sha256:...") of the files' names, sizes and (sampled) bytes. Raises SettingsError."""
    digest = hashlib.sha256()
    try:
        files = [path] if path.is_file() else sorted(p for p in path.iterdir() if _is_read(p))
        for file in files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            _add(digest, file)
    except OSError as error:
        raise SettingsError(f"grader_model: {error.filename}: cannot be read: {error.strerror}") from error
    if not files:
        raise SettingsError(f"grader_model: {path}: holds no model's files")
    return f"sha256:{digest.hexdigest()}"


def _is_read(path: Path) -> bool:
    return path.suffix in _READ and not path.name.startswith(".") and path.is_file()


def _add(digest: "hashlib._Hash", file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= WHOLE:
            digest.update(stream.read())
            return
        for index in range(BLOCKS):
            stream.seek(index * (size - BLOCK) // (BLOCKS - 1))
            digest.update(stream.read(BLOCK))


def commit(model: str) -> str:
    """The commit that a hub name now stands for, from the hub or its cache here. Raises SettingsError."""
    # Half a second of imports that folders need not pay.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        path = Path(hf_hub_download(model, "config.json"))
    except (HFValidationError, OSError, ValueError) as error:
        raise SettingsError(
            f"grader_model: {model}: neither a folder nor to be had from the hub: {error}"
        ) from error
    return path.parent.name  # .../snapshots/COMMIT/config.json

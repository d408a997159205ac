"""The revision of a model that nobody stated: by content, by commit."""

from pathlib import Path

import pytest

from rbr_service.errors import SettingsError
from rbr_service.graders import revision
from rbr_service.graders.revision import BLOCK, WHOLE, content

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"layers": 2}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


def test_the_same_content_elsewhere_is_the_same_revision(tmp_path: Path) -> None:
    first, second = _model(tmp_path / "a"), _model(tmp_path / "b")
    assert content(first) == content(second)
    assert content(first).startswith("sha256:")


def test_any_byte_of_a_small_file_counts(tmp_path: Path) -> None:
    folder = _model(tmp_path / "a")
    before = content(folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[1234] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert content(folder) != before


def test_names_count_and_readme_does_not(tmp_path: Path) -> None:
    folder = _model(tmp_path / "a")
    before = content(folder)
    (folder / "README.md").write_text("A model.")
    (folder / ".gitattributes").write_text("*")
    (folder / "original").mkdir()
    assert content(folder) == before
    (folder / "config.json").rename(folder / "other.json")
    assert content(folder) != before


def _sparse(file: Path, size: int, mark: int | None = None) -> Path:
    with file.open("wb") as stream:
        stream.truncate(size)
        if mark is not None:
            stream.seek(mark)
            stream.write(b"x")
    return file


def test_a_large_file_is_sampled_from_its_first_byte_to_its_last(tmp_path: Path) -> None:
    size = 40 * WHOLE
    plain = content(_sparse(tmp_path / "w.gguf", size))
    assert content(_sparse(tmp_path / "w.gguf", size, 0)) != plain
    assert content(_sparse(tmp_path / "w.gguf", size, size - 1)) != plain
    assert content(_sparse(tmp_path / "w.gguf", size, BLOCK)) == plain, "a byte between two blocks"
    assert content(_sparse(tmp_path / "w.gguf", size + 1)) != plain


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no model's files"):
        content(tmp_path)
    with pytest.raises(SettingsError, match="neither a folder nor to be had from the hub"):
        revision.revision(str(tmp_path / "nowhere"))


def test_a_hub_name_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models--org--name" / "snapshots" / COMMIT / "config.json"
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(file))
    assert revision.revision("org/name") == COMMIT

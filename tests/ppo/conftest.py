"""A policy that has barely been taught: enough to start a run from, in seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from .environment import ROOT

STEPS = 40


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("taught") / "policy"
    command = [sys.executable, "-m", "tests.ppo.teaching", str(folder), str(STEPS)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return folder

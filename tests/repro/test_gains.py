"""The quick run of the audit of gains, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "gains.py", "--quick", "--out", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    verdicts = [claim["verdict"] for claim in found["claims"]]
    assert verdicts.count("pass") == len(verdicts) - (find_spec("torch") is None)
    assert {path.stem for path in tmp_path.glob("*.png")} == {"audit", "unit_variance", "networks"}

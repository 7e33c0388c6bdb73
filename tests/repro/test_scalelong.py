"""The quick run of the paper on long skips, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "scalelong.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert sum(claim["verdict"] == "pass" for claim in found["claims"]) == 11
    assert sum(claim["note"] == "needs the full run" for claim in found["claims"]) == 1
    assert {path.stem for path in tmp_path.glob("*.png")} == {"linear", "initial", "training"}

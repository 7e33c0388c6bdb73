"""The quick run of the effective theory of transformers, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes_what_it_checks(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = ROOT / "paper_repro" / "transformers_init.py"
    command = [sys.executable, "-W", "error", script, "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    verdicts = [claim["verdict"] for claim in found["claims"]]
    assert verdicts.count("pass") == 14
    assert verdicts.count("not checked") == 3  # SGD trains in the full run only
    assert {path.stem for path in tmp_path.glob("*.png")} == {"signal", "groups", "training"}

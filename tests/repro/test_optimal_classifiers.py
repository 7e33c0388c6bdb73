"""The quick run of the paper on optimal classifiers, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes_all_but_what_needs_depth_50000_or_10000_points(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "optimal_classifiers.py", "--quick"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--out", tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [(claim["where"], claim["claim"]) for claim in found["claims"] if claim["verdict"] != "pass"] == [
        ("taxonomy", "the same for that of relu, 50000 layers, 100 training points"),
        ("experiments, S^1", "smallest accuracy at alpha = d - that of alpha = 0.89"),
        ("experiments, S^2", "smallest accuracy at alpha = d - that of alpha = 0.89"),
    ]
    assert len(list(tmp_path.glob("*.png"))) == 4

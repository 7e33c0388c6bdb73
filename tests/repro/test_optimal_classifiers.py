"""The quick run of the paper on optimal classifiers, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_quick_run_passes_all_but_what_needs_depth_50000(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "optimal_classifiers.py", "--quick"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--out", tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [claim["claim"] for claim in found["claims"] if claim["verdict"] != "pass"] == [
        "the same for the NTK of relu, 50000 layers, 100 training points"
    ]
    assert len(list(tmp_path.glob("*.png"))) == 4

"""The quick run of the paper on wide convolutional networks, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes_all_but_what_needs_more_points(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "wide_cnn.py", "--quick", "--out", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [claim["claim"] for claim in found["claims"] if claim["verdict"] != "pass"] == [
        "exponent with the teacher of one patch over that of all inputs"
    ]
    assert len(list(tmp_path.glob("*.png"))) == 3

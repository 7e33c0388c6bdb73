"""The quick run of the paper on orthonormality and modulation, as a user starts it, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_keeps_weights_orthonormal_and_errors_level(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "good_init.py", "--quick"]
    done = subprocess.run([*command, "--out", tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [claim["verdict"] for claim in found["claims"]] == ["pass"] * 4 + ["not checked"] * 4
    assert {path.stem for path in tmp_path.glob("*.png")} == {"training", "modules"}

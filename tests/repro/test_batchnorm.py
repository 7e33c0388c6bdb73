"""The quick run of the paper on batch normalization, as a user starts it, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_on_digits_passes(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "batchnorm.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert sum(claim["note"] == "needs the full run" for claim in found["claims"]) == 1
    assert sum(claim["verdict"] == "pass" for claim in found["claims"]) == 19
    expected = {"explosion", "fig1_gradients", "fig2_gap", "fig3_gains", "training"}
    assert {path.stem for path in tmp_path.glob("*.png")} == expected

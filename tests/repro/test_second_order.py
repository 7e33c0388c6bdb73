"""The quick run of the paper on second-order optimization, as a user starts it, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_on_digits(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "paper_repro" / "second_order.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    claims = json.loads((tmp_path / "result.json").read_text())["claims"]
    assert sum(claim["verdict"] == "not checked" for claim in claims) == 2, done.stdout + done.stderr
    assert sum(claim["verdict"] == "pass" for claim in claims) >= 6, done.stdout
    assert {path.stem for path in tmp_path.glob("*.png")} == {"coordinates", "learning_rate"}

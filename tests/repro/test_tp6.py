"""The quick run of the paper on infinite depth, as a user starts it, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_on_digits_passes_what_it_checks(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "tp6.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [claim["verdict"] for claim in found["claims"]].count("pass") == 10
    assert [claim["note"] for claim in found["claims"]].count("needs the full run") == 3
    assert found["data"] == ["scikit-learn's digits"]
    names = {"fig1_phases", "fig8_linear", "fig10_transfer", "fig17_features"}
    assert {path.stem for path in tmp_path.glob("*.png")} == names

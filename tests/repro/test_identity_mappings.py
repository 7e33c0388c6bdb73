"""The quick run of the paper on identity mappings, as a user starts it, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes_and_leaves_depth_open(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "identity_mappings.py", "--quick"]
    done = subprocess.run([*command, "--out", tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [claim["verdict"] for claim in found["claims"]].count("not checked") == 2
    assert {claim["verdict"] for claim in found["claims"]} == {"pass", "not checked"}
    assert {path.stem for path in tmp_path.glob("*.png")} == {"law", "shortcuts", "places"}

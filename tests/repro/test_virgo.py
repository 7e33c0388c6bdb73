"""The quick run of the paper on graph networks, as a user starts it, without Planetoid's files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes_what_it_checks_and_leaves_planetoid_open(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "virgo.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert sum(claim["note"] == "needs Planetoid, the full run" for claim in found["claims"]) == 3
    assert sum(claim["verdict"] == "pass" for claim in found["claims"]) == 12
    assert {claim["verdict"] for claim in found["claims"]} == {"pass", "not checked"}
    assert {path.stem for path in tmp_path.glob("*.png")} == {"signals", "gradients", "assumptions", "training"}

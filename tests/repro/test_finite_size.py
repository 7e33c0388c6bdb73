"""The quick run of the paper on finite-size corrections, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_passes_all_that_it_checks(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "finite_size.py", "--quick", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    left = [claim["note"] for claim in found["claims"] if claim["verdict"] != "pass"]
    assert set(left) == {"needs the full run"}
    assert len(left) < len(found["claims"]) / 4
    assert {path.stem for path in tmp_path.glob("*.png")} == {"density", "scaling", "depth"}

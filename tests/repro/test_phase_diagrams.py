"""The quick run of the phase diagrams, as a user starts it, on scikit-learn's digits."""

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
    command = [sys.executable, "-W", "error", ROOT / "paper_repro" / "phase_diagrams.py", "--quick", "--out", tmp_path]
    environment = {k: v for k, v in os.environ.items() if k != "WIDENET_DATA"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert [claim["verdict"] for claim in found["claims"]].count("pass") == 11
    (open_claim,) = [claim for claim in found["claims"] if claim["verdict"] != "pass"]
    assert (open_claim["verdict"], open_claim["note"]) == ("not checked", "needs the full run")
    assert {path.stem for path in tmp_path.glob("*.png")} == {"diagrams", "correlations", "gradients", "training"}

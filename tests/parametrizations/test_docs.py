"""The code of docs/parametrizations.md runs; blocks that name a library they need run where it is installed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "parametrizations.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)


@pytest.mark.float32
def test_the_code_of_the_page_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": "page"}
    run = 0
    for block in BLOCKS:
        needs = re.match(r"# needs: (\w+)\n", block)
        if needs is None or importlib.util.find_spec(needs[1]):
            exec(compile(block, str(PAGE), "exec"), scope)
            run += 1
    assert run >= 3
    assert "violated: stable in training" in capsys.readouterr().out

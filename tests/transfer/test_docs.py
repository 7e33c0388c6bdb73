"""The code of docs/transfer.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "transfer.md"


@pytest.mark.slow
@pytest.mark.float32
def test_the_code_of_the_page_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(block, str(PAGE), "exec"), scope)
    assert "transfer score" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"check.png", "sweep.png", "sweep.csv"}

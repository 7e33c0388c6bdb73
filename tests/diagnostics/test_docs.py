"""The code of docs/diagnostics.md runs; a block that names a library it needs runs where it is installed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)


@pytest.mark.float32
def test_the_code_of_the_page_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for block in BLOCKS:
        needs = re.match(r"# needs: (\w+)\n", block)
        if needs is None or importlib.util.find_spec(needs[1]):
            exec(compile(block, str(PAGE), "exec"), scope)
    assert "because" in capsys.readouterr().out
    assert (tmp_path / "signals.png").stat().st_size > 10_000
    assert (tmp_path / "signals.html").stat().st_size > 10_000

"""The code of docs/limits.md runs, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


def test_the_code_of_the_page_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(compile(block, str(PAGE), "exec"), {})
    slope = float(re.search(r"value=(-[\d.]+)", capsys.readouterr().out)[1])
    assert abs(slope + 0.5) < 0.2

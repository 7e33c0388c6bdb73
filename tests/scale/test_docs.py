"""The page on scale is true."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import widenet as wn

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(compile(block, str(PAGE), "exec"), scope)
    x, y, net, noise = (scope[name] for name in ("x", "y", "net", "noise"))
    expected = wn.predict.gp(wn.ntk(net)(x[:50]), y[:50], wn.ntk(net)(x[50:], x[:50]), noise=noise).mean
    np.testing.assert_allclose(scope["mean"], expected, rtol=1e-9)

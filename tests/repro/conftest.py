"""A paper script that checks one number, in a folder of its own."""

from __future__ import annotations

import pytest

SCRIPT = '''"""A paper (A. Author; Venue 2020).

Paper: author2020
Figure: 1
Claim: two and two
    make four
Expected: 4
Minutes: 0.5 (full), 0.1 (--quick)
Command: python paper_repro/sum.py [--quick] [--out DIR] [--seed N]

Prose: with a colon.
"""
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "paper_repro" / "sum.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path

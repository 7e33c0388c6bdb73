from __future__ import annotations

from pathlib import Path

import pytest

from widenet.repro import headers, read_header

SCRIPTS = Path(__file__).parents[2] / "paper_repro"


def test_fields_are_read_and_continued_on_indented_lines(script):
    header = read_header(script)
    assert (header.key, header.title, header.paper) == ("sum", "A paper (A. Author; Venue 2020).", "author2020")
    assert header.claim == "two and two make four"
    assert header.minutes == 0.5


def test_a_missing_field_is_named(script):
    script.write_text(script.read_text().replace("Figure: 1\n", ""))
    with pytest.raises(ValueError, match=r"sum.py: the header has no figure; add"):
        read_header(script)


def test_an_unknown_line_is_shown(script):
    script.write_text(script.read_text().replace("    make four", "make four"))
    with pytest.raises(ValueError, match=r"'make four' is none of paper, figure"):
        read_header(script)


def test_minutes_are_a_number(script):
    script.write_text(script.read_text().replace("0.5 (full)", "some"))
    with pytest.raises(ValueError, match="must begin with a number"):
        read_header(script)


def test_reading_a_header_does_not_run_the_script(script):
    script.write_text(script.read_text() + "raise RuntimeError\n")
    assert [header.key for header in headers(script.parent)] == ["sum"]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_paper_script_has_a_header(path):
    assert read_header(path).minutes > 0

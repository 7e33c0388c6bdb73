"""The rules of the house: which way imports point, what is public, what formulas are cited."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from widenet.precision import float64

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "widenet").rglob("*.py"))
PAGES = sorted((ROOT / "theory").glob("*.md"))
MAY_IMPORT = {  # each room, and the rooms it may know
    "program": set(),
    "activations": {"program"},
    "layers": {"program", "activations"},
    "kernels": {"program", "activations"},
    "finite": {"program", "activations", "layers"},
    "predict": set(),
    "datasets": set(),
    "repro": set(),
}


def imported(path):
    """The modules that a file imports, whenever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room):
    for path in FILES:
        if path.relative_to(ROOT / "widenet").parts[0] != room:
            continue
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("widenet.")}
        assert rooms & set(MAY_IMPORT) <= MAY_IMPORT[room] | {room}, path


def test_only_public_jax_is_used():
    for path in FILES:
        for name in imported(path):
            assert not re.match(r"jax\.(core|interpreters|_src|extend)", name), (path, name)


def test_files_hold_one_idea():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        assert not re.search(r"TODO|FIXME|XXX", text), path


def cited():
    """The tags that code cites."""
    texts = (path.read_text() for path in FILES)
    return {tag for text in texts for tag in re.findall(r"\b([TDKFP]\d{1,2})\b(?=[,)\]-])", text)}


def defined():
    """The tags that pages define."""
    return {tag for page in PAGES for tag in re.findall(r"\*\*\(([A-Z]\d+)\)\*\*", page.read_text())}


def test_code_and_theory_name_the_same_formulas():
    assert cited() == defined()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_theory_page_runs(page):
    scope: dict = {"np": np}
    with float64():
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            exec(compile(block, str(page), "exec"), scope)


def test_the_code_of_the_readme_runs(capsys):
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        exec(compile(block, "README.md", "exec"), scope)
    assert "W1 x" in capsys.readouterr().out

"""The rules of the house: which way imports point, what is public, what formulas are cited."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import widenet as wn
from widenet.precision import float64

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "widenet").rglob("*.py"))
SCRIPTS = sorted(path for folder in ("tests", "paper_repro", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted((ROOT / "theory").glob("*.md"))
FLOOR = {"precision", "progress", "checks", "memory"}  # what every room stands on
PUBLIC = ""  # `import widenet`: every public name at once
READINGS = {"program", "activations", "layers", "kernels", "finite", "predict"}
MAY_IMPORT = {  # each room, and the rooms it may know beside the floor; a new room gets a row
    **{room: set() for room in sorted(FLOOR)},
    "io": set(),
    "program": set(),
    "activations": {"program"},
    "layers": {"program", "activations"},
    "zoo": {"program", "activations", "layers"},
    "kernels": {"program", "activations"},
    "finite": {"program", "activations", "layers", "parametrizations"},
    "batches": {"program", "activations"},
    "mean_field": {"program", "activations", "layers", "kernels"},
    "corrections": {"program", "activations", "finite"},
    "spectra": {"program", "activations", "finite", "corrections"},
    "initializers": {"activations", "mean_field"},
    "torch": {"activations", "initializers", "parametrizations"},
    "diagnostics": {*READINGS - {"predict"}, "initializers", "torch", "corrections", "spectra", "batches"},
    "parametrizations": set(),
    "optimizers": {"initializers", "parametrizations"},
    "limits": set(),
    "transfer": {"program", "finite", "initializers", "parametrizations", "optimizers"},
    "predict": set(),
    "scale": {"program", "kernels", "predict"},
    "datasets": set(),
    "compat": READINGS,
    "repro": {PUBLIC},
    "demo": {PUBLIC, "datasets", *READINGS},
    "cli": {PUBLIC, "io", "datasets", "demo", "repro", *READINGS},
}


def imported(path):
    """The dotted names that a file imports, whenever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: import from widenet by its name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    """The folder of widenet that a file is in, or its own name if it is in none."""
    return path.relative_to(ROOT / "widenet").parts[0].removesuffix(".py")


def rooms_imported(path):
    """The rooms that a file imports from; PUBLIC if it imports widenet itself."""
    names = (name.split(".") for name in imported(path))
    seconds = {name[1] if len(name) > 1 else PUBLIC for name in names if name[0] == "widenet"}
    return {second if second in MAY_IMPORT else PUBLIC for second in seconds}


def used(path):
    """The dotted names that a file imports or writes out, such as jax.numpy.ndarray."""
    yield from imported(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def test_every_room_has_its_place():
    assert {room_of(path) for path in FILES} - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room):
    for path in FILES:
        if room_of(path) == room:
            beyond = rooms_imported(path) - MAY_IMPORT[room] - FLOOR - {room}
            assert not beyond, f"{path} imports {beyond}"


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("kernels", "import widenet as wn"),
        ("kernels", "from widenet import relu"),
        ("kernels", "from widenet import predict"),
        ("program", "import widenet.kernels.kernel"),
    ],
)
def test_an_import_that_points_up_is_seen(room, line, tmp_path):
    (tmp_path / "file.py").write_text(line)
    assert rooms_imported(tmp_path / "file.py") - MAY_IMPORT[room] - FLOOR


PRIVATE = re.compile(r"jax\.(core|interpreters|_src|extend)\b|jaxlib\b")


def test_only_public_jax_is_used():
    for path in [*FILES, *SCRIPTS]:
        assert not [name for name in used(path) if PRIVATE.match(name)], path


@pytest.mark.parametrize("line", ["from jax import core", "import jax.extend as e", "jax.core.Tracer", "import jaxlib"])
def test_private_jax_is_seen(line, tmp_path):
    (tmp_path / "file.py").write_text(line)
    assert any(map(PRIVATE.match, used(tmp_path / "file.py")))


def test_files_hold_one_idea():
    for path in [*FILES, *SCRIPTS]:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        assert path == Path(__file__) or not re.search(r"TODO|FIXME|XXX", text), path


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_file_of_the_package_is_ignored():
    """The wheel leaves out what .gitignore names, and ruff does not read it."""
    names = "\n".join(str(path.relative_to(ROOT)) for path in FILES)
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    ignored = subprocess.run(command, cwd=ROOT, input=names, capture_output=True, text=True, check=False)
    assert (ignored.returncode, ignored.stdout) == (1, ""), ignored  # 1: none is


def test_every_public_name_is_there():
    for name in wn.__all__:
        assert getattr(wn, name) is not None
    assert len(set(wn.__all__)) == len(wn.__all__)
    assert set(wn.__all__) < set(dir(wn))
    with pytest.raises(AttributeError, match="widenet has no 'kernle'"):
        wn.kernle  # noqa: B018


@pytest.mark.parametrize("path", [p for p in FILES if ">>> " in p.read_text()], ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


def cited():
    """The tags that code cites."""
    texts = (path.read_text() for path in [*FILES, *(ROOT / "paper_repro").glob("*.py")])
    groups = (group for text in texts for group in re.findall(r"\(([A-Z]\d+(?:, [A-Z]\d+)*)\)", text))
    return {tag for group in groups for tag in group.split(", ")}


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

"""`widenet check`, as a user meets it."""

from __future__ import annotations

import pytest

from widenet.cli import main

MODEL = """
import jax, jax.numpy as jnp

def model(width):
    def init(key):
        a, b = jax.random.split(key)
        return {"w1": jax.random.normal(a, (16, width)) / 4, "w2": jax.random.normal(b, (width, 3)) / width**0.5}
    return init, lambda p, x: jnp.tanh(x @ p["w1"]) @ p["w2"]

def build():
    return model

def small():
    return {"model": model, "widths": (16, 32, 64), "seeds": 2}

def nothing():
    return {}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with a model in it."""
    (tmp_path / "a_model_of_mine.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_failed_check_exits_with_1(folder, capsys):
    assert main(["check", "a_model_of_mine.py:small", "--parametrization", "sp"]) == 1
    assert "FAIL" in capsys.readouterr().out
    assert (folder / "check.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("function", ["build", "model"])
def test_a_passed_check_exits_with_0(function, capsys):
    assert main(["check", f"a_model_of_mine:{function}", "--widths", "16,32,64", "--seeds", "2"]) == 0
    assert "pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a_model_of_mine"], "name a module and a function"),
        (["a_model_of_mine.py:builds"], "it has model, build, small, nothing"),
        (["no_model.py:build"], "not a file"),
        (["no_model_of_mine:build"], "No module named"),
        (["a_model_of_mine.py:nothing"], "without 'model'"),
        (["a_model_of_mine.py:build", "--optimizer", "adan"], "optimizer is one of"),
        (["a_model_of_mine.py:build", "--parametrization", "adam"], "parametrization is one of"),
        (["a_model_of_mine.py:build", "--out", "check.gif"], ".png, .pdf or .svg"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mistakes_are_named(arguments, message, capsys):
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err

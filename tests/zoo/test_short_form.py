"""The short forms of the command line."""

from __future__ import annotations

import pytest

import widenet as wn
from widenet.program.trace import trace
from widenet.zoo import parse


@pytest.mark.parametrize(
    "spec", ["mlp", "mlp:relu:3", "mlp:tanh:2:sigma_w=1.3:sigma_b=0.1", "residual:erf:4:scale=0.5"]
)
def test_a_short_form_gives_a_network(spec):
    assert trace(parse(spec), (2, 3)).output.positions == ()


def test_options_of_a_short_form_are_used():
    text = wn.show(parse("mlp:erf:3:sigma_w=1.25"), (2, 3))
    assert "1.25 W1" in text
    assert "erf" in text
    assert "2 times" in text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mpl:relu:3", "unknown network 'mpl'; did you mean 'mlp'"),
        ("mlp:rleu:3", "unknown activation 'rleu'; did you mean 'relu'"),
        ("mlp:relu:sigmaw=2", "did you mean 'sigma_w'"),
        ("mlp:relu:sigma_w=two", "sigma_w must be a number"),
    ],
)
def test_a_misspelt_short_form_is_refused_with_a_suggestion(spec, message):
    with pytest.raises(ValueError, match=message):
        parse(spec)

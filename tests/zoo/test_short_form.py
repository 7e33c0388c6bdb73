"""The short forms of the command line."""

from __future__ import annotations

import inspect

import pytest

import widenet as wn
from widenet.cli.kernel import NETS
from widenet.program.trace import trace
from widenet.zoo.short_form import WITH_DEPTH

SHAPES = {
    "mlp": (6,),
    "residual": (6,),
    "gpt": (4,),
    **dict.fromkeys(("rnn", "gru", "lstm", "gcn", "sage", "gin"), (3, 2)),
}


def shape(name):
    return (2, *SHAPES.get(name, (16, 16, 3)))


@pytest.mark.parametrize("name", [*wn.zoo.ZOO, *WITH_DEPTH])
def test_every_network_is_one_name_away(name):
    net = wn.zoo.parse(name)
    assert trace(net, shape(name)).output.positions == ()
    assert "W1" in wn.show(net, shape(name))


def test_help_names_every_network():
    assert set(NETS.split()) == {*wn.zoo.ZOO, *WITH_DEPTH}


@pytest.mark.parametrize("name", wn.zoo.ZOO)
def test_every_default_can_be_written_down(name):
    """Each option is of a kind that a short form can give, and giving its default changes nothing."""
    options = []
    for key, p in inspect.signature(wn.zoo.ZOO[name]).parameters.items():
        options.append(f"{key}={getattr(p.default, 'name', p.default)}".replace("False", "no").replace("True", "yes"))
    assert wn.show(wn.zoo.parse(":".join([name, *options])), shape(name)) == wn.show(wn.zoo.parse(name), shape(name))


@pytest.mark.parametrize(
    "spec", ["mlp", "mlp:relu:3", "mlp:tanh:2:sigma_w=1.3:sigma_b=0.1", "residual:erf:4:scale=0.5"]
)
def test_a_short_form_gives_a_network(spec):
    assert trace(wn.zoo.parse(spec), (2, 3)).output.positions == ()


def test_options_of_a_short_form_are_used():
    text = wn.show(wn.zoo.parse("mlp:erf:3:sigma_w=1.25"), (2, 3))
    assert "1.25 W1" in text
    assert "erf" in text
    assert "2 times" in text


def test_a_word_alone_switches_an_option_on():
    plain, both, no = (wn.show(wn.zoo.parse(f"rnn{o}"), (2, 3, 4)) for o in ("", ":bidirectional", ":bidirectional=no"))
    assert "concatenate" in both
    assert "concatenate" not in plain
    assert plain == no


def test_a_name_with_its_depth_is_the_name_and_the_depth():
    one, other = (wn.show(wn.zoo.parse(spec), (2, 8, 8, 1)) for spec in ("myrtle10:erf", "myrtle:10:erf"))
    assert one == other


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mpl:relu:3", "unknown network 'mpl'; did you mean 'mlp'"),
        ("mytle5", "unknown network 'mytle5'; did you mean 'myrtle5'"),
        ("mlp:rleu:3", "unknown activation 'rleu'; did you mean 'relu'"),
        ("mlp:relu:sigmaw=2", "did you mean 'sigma_w'"),
        ("mlp:relu:sigma_w=two", "sigma_w must be a number"),
        ("mlp:depth=1.5", "depth must be a whole number; got '1.5'"),
        ("mlp:relu:erf", "mlp is given its activation twice"),
        ("myrtle5:7", "myrtle is given its depth twice"),
        ("wide_resnet:28:width=10", "unknown option of wide_resnet 'width'"),
        ("gru:maskd", "unknown activation or option of gru 'maskd'; did you mean 'masked'"),
        ("gru:masked=maybe", "unknown value of masked 'maybe'"),
        ("gru:gate=sigmod", "unknown activation 'sigmod'; did you mean 'sigmoid'"),
        ("rnn:3", "unknown option of rnn 'depth'"),
        ("vit:scaling=cubic", "scaling must be 'sqrt' or 'linear'"),
    ],
)
def test_a_misspelt_short_form_is_refused_with_a_suggestion(spec, message):
    with pytest.raises(ValueError, match=message):
        trace(wn.zoo.parse(spec), shape(spec.partition(":")[0]))

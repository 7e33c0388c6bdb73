"""What a network is as a program, and what is refused while it is built."""

from __future__ import annotations

import jax
import pytest

import widenet as wn
from widenet.program.ops import Repeat, Weight
from widenet.program.rewrite import unroll_bypassed
from widenet.program.trace import trace


def test_a_weight_passed_twice_is_one_weight():
    w = Weight()
    program = trace(lambda x: wn.dense(wn.relu(wn.dense(wn.relu(wn.dense(x)), weight=w)), weight=w), (2, 3))
    assert [len(uses) for uses in program.weights.values()] == [1, 2]


def test_variables_are_listed_after_their_arguments():
    program = trace(wn.zoo.rnn(), (2, 5, 3))
    for var in program.variables:
        assert all(program.index[arg] < program.index[var] for arg in var.args)


def test_a_repeat_is_kept_unless_something_bypasses_it():
    block = wn.serial(wn.relu, wn.dense())
    plain = trace(wn.serial(wn.dense(), wn.repeat(block, 5)), (2, 3))
    around = trace(lambda x: (h := wn.dense(x)) + wn.repeat(block, 5)(h), (2, 3))
    assert any(isinstance(var.op, Repeat) for var in unroll_bypassed(plain).variables)
    assert not any(isinstance(var.op, Repeat) for var in unroll_bypassed(around).variables)
    assert len(unroll_bypassed(around).weights) == 6


def test_a_repeat_that_ties_its_copies_is_written_out():
    w = Weight()
    program = trace(wn.serial(wn.dense(), wn.repeat(wn.serial(wn.relu, wn.dense(weight=w)), 4)), (2, 3))
    assert len(program.weights[w]) == 4


def test_channels_count_the_hidden_width():
    def net(x):
        return wn.concatenate(wn.dense(x), wn.dense(x), wn.dense(x, width=3))

    assert str(trace(net, (2, 4)).output.channels) == "2n+3"
    assert str(trace(wn.serial(net, wn.flatten()), (2, 5, 4)).output.channels) == "10n+15"


REFUSED = {
    "two nonlinearities in a row": (
        lambda x: wn.relu(wn.erf(wn.dense(x))),
        (2, 3),
        r"relu.*erf \(layer 2\).*dense layer in between",
    ),
    "a nonlinearity on data": (wn.relu, (2, 3), "is data.*put a dense layer before"),
    "a nonlinearity on dropout": (
        lambda x: wn.relu(wn.dropout(wn.dense(x), 0.1)),
        (2, 3),
        "dropout after the activation",
    ),
    "mismatched positions": (lambda x: wn.dense(x) + wn.dense(wn.position_mean(x)), (2, 4, 3), "equal positions.*pool"),
    "mismatched channels": (lambda x: wn.dense(x) + wn.dense(x, width=3), (2, 3), "equally many channels.*same width"),
    "concatenation and dense": (
        lambda x: wn.concatenate(wn.dense(x, width=2), wn.dense(x, width=2)) + wn.dense(x, width=4),
        (2, 3),
        "laid out differently.*dense layer after",
    ),
    "a number added": (lambda x: wn.dense(x) + 1, (2, 3), "needs variables, but was given 1"),
    "a name never bound": (wn.serial(wn.dense(), wn.add("skip")), (2, 3), "'skip'.*never bound.*put bind"),
    "nothing returned": (lambda _: None, (2, 3), "must return a variable.*None"),
    "one weight, two fan-ins": (
        lambda x: (lambda w: wn.dense(wn.relu(wn.dense(x, weight=w)), weight=w))(Weight()),
        (2, 3),
        "share one Weight.*make a second Weight",
    ),
    "a block that changes shape": (wn.repeat(wn.dense(), 3), (2, 3), "must keep the shape"),
    "no positions to pool": (wn.position_mean(), (2, 3), "no positions to pool"),
    "a position out of range": (wn.select(position=7), (2, 4, 3), "out of range"),
    "dropout of everything": (wn.dropout(rate=1.0), (2, 3), "probability of zeroing"),
    "a negative sigma": (wn.dense(sigma_w=-1.0), (2, 3), "sigma_w is a standard deviation"),
    "one sample": (wn.dense(), (3,), r"write x\[None\]"),
    "a time axis missing": (wn.zoo.rnn(), (2, 3), "needs a time axis"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_with_the_layer_and_the_remedy(name):
    net, shape, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        trace(net, shape)


def test_a_variable_from_another_architecture_is_refused():
    foreign = trace(wn.dense(), (2, 3)).output
    with pytest.raises(ValueError, match="never bound in this architecture"):
        trace(lambda x: wn.dense(x) + foreign, (2, 3))


def test_a_network_without_readout_has_no_kernel():
    with pytest.raises(ValueError, match=r"no readout.*dense \(layer 1\).*\[batch, 4, 4, n\].*flatten"):
        wn.kernel(wn.dense())(jax.numpy.ones((2, 4, 4, 3)))


def test_show_prints_the_equations():
    text = wn.show(wn.serial(wn.dense(sigma_w=1.5, sigma_b=0.1), wn.repeat(wn.serial(wn.relu, wn.dense()), 3)), (7, 5))
    assert "h1 = 1.5 W1 x / sqrt(5) + 0.1 b1" in text
    assert "3 times, from h1:" in text
    assert "z1 = relu(x)" in text

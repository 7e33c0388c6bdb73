"""Transformations of optax in other transformations, and trees that training code hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.parametrizations.models import mlp
from widenet import parametrizations as wp

BASE, WIDE = mlp(4), mlp(16, key=1)
MADE = wp.factors(wp.infer(BASE, WIDE), wp.mup, wp.adamw)
GRADIENT = jax.tree.map(jnp.ones_like, WIDE)


def after(tx, params=WIDE, gradient=GRADIENT, steps=2):
    """The parameters after some steps, compiled, as one tree."""
    state = tx.init(params)
    step = jax.jit(tx.update)
    for _ in range(steps):
        updates, state = step(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


def test_one_transformation_for_each_optimizer():
    """In `partition` every transformation sees some of the parameters."""
    both = {"input": wp.lion, "rest": wp.adam}
    made = wp.factors(MADE.specs, wp.mup, both)
    each = wp.parametrized(optax.scale_by_sign(), made, 0.1, weight_decay=0.1)
    parts = optax.partition({"lion": each, "adam": each}, wp.labels(made, WIDE))
    same(after(parts), after(each))


def test_learning_rate_and_decay_from_outside():
    """`inject_hyperparams` makes both of them arrays."""

    def make(rate, decay):
        return wp.parametrized(optax.scale_by_sign(), MADE, rate, weight_decay=decay)

    same(after(optax.inject_hyperparams(make)(rate=0.1, decay=0.2)), after(make(0.1, 0.2)))
    same(after(make(lambda _: 0.1, 0.2)), after(make(0.1, 0.2)))


def test_steps_of_several_batches():
    plain = wp.parametrized(optax.scale_by_sign(), MADE, 0.1)
    same(after(optax.MultiSteps(plain, 2), steps=4), after(plain))


def test_only_matrices_decay_even_if_layers_are_stacked():
    def make(width):
        return {"w": jnp.ones((3, width, width)), "gain": jnp.ones((3, width)), "table": jnp.ones((5, width))}

    made = wp.factors(wp.infer(make(4), make(8), stacked="w|gain"), wp.mup, wp.adamw)
    tx = wp.parametrized(optax.scale(0.0), made, 0.1, weight_decay=1.0)
    params = after(tx, make(8), make(8), steps=1)
    assert float(params["gain"].min()) == 1
    assert float(params["table"].max()) == float(params["w"].max()) == pytest.approx(0.9)


class Pair(NamedTuple):
    """Names that are those of a variable in flax."""

    value: jax.Array
    query: jax.Array


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    """A leaf that is an integer, one that is complex, and one in bfloat16."""

    count: jax.Array
    phase: jax.Array
    table: jax.Array


def odd(width):
    counts = Layer(jnp.zeros((), jnp.int32), jnp.ones((width, width), complex), jnp.ones((5, width), jnp.bfloat16))
    return [counts, None, Pair(jnp.ones((width, width)), jnp.ones((width, width))), {"value": jnp.ones((width, 3))}]


def test_trees_of_any_kind():
    made = wp.factors(wp.infer(odd(4), odd(16)), wp.mup, wp.adamw)
    assert list(made.by_path) == ["0/phase", "0/table", "2", "2/query", "3/value"]
    params = wp.rescale_init(odd(16), odd(4), made)
    assert [leaf.dtype for leaf in jax.tree.leaves(params)] == [leaf.dtype for leaf in jax.tree.leaves(odd(16))]
    assert float(params[0].phase[0, 0].real) == float(params[2].query[0, 0]) == 0.5
    tx = wp.parametrized(optax.identity(), made, 1.0, weight_decay=0.5)
    moved = after(tx, params, jax.tree.map(jnp.zeros_like, params), steps=1)
    assert moved[0].count == 0
    assert complex(moved[0].phase[0, 0]) == 0.25
    assert moved[0].table.dtype == jnp.bfloat16


def test_initial_sizes_inside_of_a_compiled_function():
    made = wp.factors(MADE.specs, wp.mup.to_form("C"), wp.sgd)
    same(jax.jit(lambda p: wp.rescale_init(p, BASE, made))(WIDE), wp.rescale_init(WIDE, BASE, made))


@pytest.mark.parametrize("form", "ABCD")
def test_a_gain_of_one_is_one_behind_its_multiplier(form):
    base, wide = {**BASE, "gain": jnp.ones(4)}, {**WIDE, "gain": jnp.ones(16)}
    made = wp.factors(wp.infer(base, wide), wp.mup.to_form(form), wp.adam)
    np.testing.assert_allclose(wp.rescale_init(wide, base, made)["gain"] * made.by_path["gain"].multiplier, 1)


def test_arrays_without_a_size():
    zero = wp.rescale_init(WIDE, BASE, MADE, zero_readout=True)
    with pytest.raises(ValueError, match=r"'readout/kernel' is zero in params only.*zero_readout=True"):
        wp.rescale_init(zero, BASE, MADE)
    with pytest.raises(ValueError, match="is zero in base_params only"):
        wp.rescale_init(WIDE, jax.tree.map(jnp.zeros_like, BASE), MADE)
    with pytest.raises(ValueError, match="is not finite in base_params: draw it anew"):
        wp.rescale_init(WIDE, jax.tree.map(lambda a: a + jnp.nan, BASE), MADE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wp.factors(MADE.specs, "mup", wp.adam), r"an object, such as mup.*'mup'"),
        (lambda: wp.factors(MADE.specs, wp.mup, wp.muon), r"an object, such as adam, muon\(\)"),
        (lambda: wp.factors(MADE.specs, wp.mup, {"rest": "adam"}), "an object, such as adam"),
        (lambda: wp.check(wp.mup, wp.kfac), "an object, such as adam"),
        (lambda: wp.mup.rates("adam"), "an object, such as adam"),
        (lambda: wp.mup.with_depth("sqrt"), "such as depth_sqrt"),
        (lambda: wp.branch_scale(4, wp.depth_mup), r"such as depth_sqrt or depth_mup\.depth"),
        (lambda: wp.branch_scale(4, wp.depth_sqrt, 0), "1 or more; got 4 and 0"),
        (lambda: wp.attention_scale(0), "1 or more"),
        (lambda: wp.readout_scale(8, wp.mup, 0), "1 or more"),
        (lambda: wp.infer({"w": jnp.ones((3, 0))}, {"w": jnp.ones((3, 4))}), "'w' is empty"),
        (lambda: wp.parametrized(MADE, optax.identity(), 0.1), "factors are those of factors"),
        (lambda: wp.parametrized(optax.scale_by_adam, MADE, 0.1), r"optax.scale_by_adam\(\), called"),
        (lambda: wp.parametrized(optax.identity(), MADE, "0.1"), "a number or a schedule of optax; got '0.1'"),
    ],
)
def test_what_cannot_train(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""The finite network against the same network written out in numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.nets import NETS
from widenet.program.ops import Weight

ROWS = np.random.default_rng(0).normal(size=(4, 3, 5))


def affine(entry, z, sigma_w=1.0, sigma_b=0.0):
    h = sigma_w / np.sqrt(z.shape[-1]) * z @ np.asarray(entry["w"])
    return h + sigma_b * np.asarray(entry["b"]) if sigma_b else h


def relu(u):
    return np.maximum(u, 0)


def drawn(net, x=ROWS, width=7, **options):
    return wn.init(net, 3, x.shape, width, **options)


def test_dense_relu_dense_is_what_the_formula_says():
    net = wn.serial(wn.dense(sigma_w=1.4, sigma_b=0.3), wn.relu, wn.dense(sigma_w=0.9, width=2))
    p, x = drawn(net), ROWS
    expected = affine(p["dense2"], relu(affine(p["dense1"], x, 1.4, 0.3)), 0.9)
    assert set(p["dense2"]) == {"w"}
    np.testing.assert_allclose(wn.apply(net, p, x), expected, rtol=1e-13)


def test_a_tied_recurrent_network_uses_one_matrix_at_every_step():
    net = wn.zoo.rnn(wn.tanh, sigma_w=1.3, sigma_u=0.8, sigma_b=0.2)
    p = drawn(net)
    assert set(p) == {"U", "W", "dense1"}
    state = np.tanh(affine(p["U"], ROWS[:, 0], 0.8, 0.2))
    for t in (1, 2):
        state = np.tanh(affine(p["U"], ROWS[:, t], 0.8, 0.2) + affine(p["W"], state, 1.3))
    np.testing.assert_allclose(wn.apply(net, p, ROWS), affine(p["dense1"], state), rtol=1e-13)


def test_a_repeat_is_its_block_written_out_with_the_stacked_parameters():
    net = wn.serial(wn.dense(), wn.repeat(wn.residual(wn.serial(wn.relu, wn.dense(sigma_w=1.2, sigma_b=0.1))), 4))
    p = drawn(net)
    h = affine(p["dense1"], ROWS)
    for i in range(4):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], p["repeat1"]["dense1"])
        h = h + affine(own, relu(h), 1.2, 0.1)
    np.testing.assert_allclose(wn.apply(net, p, ROWS), h, rtol=1e-13)


def test_a_repeat_is_compiled_once_whatever_its_depth():
    block = wn.serial(wn.relu, wn.dense())
    sizes = []
    for times in (3, 30):
        net = wn.serial(wn.dense(), wn.repeat(block, times))
        sizes.append(len(str(jax.make_jaxpr(lambda p, net=net: wn.apply(net, p, ROWS))(drawn(net)))))
    assert abs(sizes[1] - sizes[0]) < 50  # "length=3" is a little shorter than "length=30"


def test_positions_are_mixed_flattened_concatenated_and_gated():
    matrix = np.arange(6.0).reshape(2, 3)

    def net(x):
        h = wn.dense(x, 1.1)
        mixed = wn.mix_positions(wn.relu(h), matrix, (2,))
        pooled = wn.flatten(wn.concatenate(mixed, 0.5 * mixed))
        gated = wn.sigmoid(wn.dense(pooled)) * wn.dense(wn.position_mean(h))
        return wn.dense(gated - 2 * wn.dense(wn.select(x, 1)))

    p = drawn(net)
    h = affine(p["dense1"], ROWS, 1.1)
    mixed = np.einsum("pq,nqc->npc", matrix, relu(h))
    pooled = np.concatenate([mixed, 0.5 * mixed], axis=-1).reshape(4, -1)
    gate = 1 / (1 + np.exp(-affine(p["dense2"], pooled)))
    z = gate * affine(p["dense3"], h.mean(1)) - 2 * affine(p["dense4"], ROWS[:, 1])
    np.testing.assert_allclose(wn.apply(net, p, ROWS), affine(p["dense5"], z), rtol=1e-12)


def test_image_positions_keep_their_shape():
    x = np.random.default_rng(1).normal(size=(2, 4, 3, 5))
    net = wn.serial(wn.dense(), wn.relu)
    assert wn.apply(net, drawn(net, x), x).shape == (2, 4, 3, 7)


def test_dropout_is_the_identity_in_evaluation_and_masks_with_a_key():
    net = wn.dropout(rate=0.3)
    x = jnp.ones((2000, 4))
    np.testing.assert_array_equal(wn.apply(net, {}, x), x)
    y = np.asarray(wn.apply(net, {}, x, key=jax.random.key(0)))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7])
    assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / y.size)
    np.testing.assert_array_equal(y, wn.apply(net, {}, x, key=jax.random.key(0)))


def test_every_dropout_and_every_copy_of_a_block_has_a_mask_of_its_own():
    twice = lambda x: wn.concatenate(wn.dropout(x, 0.5), wn.dropout(x, 0.5))  # noqa: E731
    y = np.asarray(wn.apply(twice, {}, jnp.ones((1, 64)), key=jax.random.key(1)))
    assert (y[:, :64] != y[:, 64:]).any()
    thrice = wn.repeat(wn.dropout(rate=0.5), 3)
    kept = np.asarray(wn.apply(thrice, {"repeat1": {}}, jnp.ones((50, 80)), key=jax.random.key(2)))
    assert abs((kept != 0).mean() - 1 / 8) < 0.03


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_through_every_net(dtype):
    for name in ("rnn", "repeated_rows", "gate_and_skip", "mlp_leaky", "mlp_polynomial", "concatenated_rows"):
        net, shape = NETS[name]
        x = jnp.ones((2, *shape), dtype)
        p = wn.init(net, 0, x.shape, 4, dtype=dtype)
        assert {leaf.dtype for leaf in jax.tree.leaves(p)} == {np.dtype(dtype)}
        assert wn.apply(net, p, x).dtype == dtype


def test_jit_vmap_and_gradients_in_sigma_work():
    x = jnp.asarray(ROWS)

    def loss(sigma):
        net = wn.serial(wn.dense(sigma_w=sigma, sigma_b=sigma), wn.relu, wn.dense())
        return jnp.sum(wn.apply(net, wn.init(net, 0, x.shape, 6), x))

    slope = jax.jit(jax.grad(loss))(1.3)
    np.testing.assert_allclose(slope, loss(1.0) / 1.0, rtol=1e-12)  # homogeneous of degree one in sigma
    net = wn.serial(wn.dense(), wn.relu, wn.dense())
    p = drawn(net)
    rows = jax.vmap(lambda row: wn.apply(net, p, row[None])[0])(x)
    np.testing.assert_allclose(rows, wn.apply(net, p, x), rtol=1e-12)


TWO = wn.serial(wn.dense(sigma_b=0.1), wn.relu, wn.dense())


def test_mistakes_are_refused_with_the_remedy():
    p = drawn(TWO)
    with pytest.raises(ValueError, match=r"params has no 'dense2' for dense.*made for another net"):
        wn.apply(TWO, {"dense1": p["dense1"]}, ROWS)
    with pytest.raises(ValueError, match=r"takes 5 channels.*given 4.*x has 4 features.*data of another shape"):
        wn.apply(TWO, p, ROWS[..., :4])
    with pytest.raises(ValueError, match=r"no bias 'b'.*sigma_b = 0"):
        wn.apply(TWO, p | {"dense1": {"w": p["dense1"]["w"]}}, ROWS)
    deep, deeper = (wn.serial(wn.dense(), wn.repeat(wn.serial(wn.relu, wn.dense()), n)) for n in (3, 4))
    with pytest.raises(ValueError, match="3 copies of its block, but the net repeats it 4 times"):
        wn.apply(deeper, drawn(deep), ROWS)


@pytest.mark.parametrize("width", [0, -3, 2.5, None])
def test_a_width_is_a_positive_whole_number(width):
    with pytest.raises(ValueError, match="whole number >= 1"):
        wn.init(TWO, 0, ROWS.shape, width)


def test_names_are_by_first_use_and_unique():
    a, b, c = Weight(name="W"), Weight(name="W"), Weight(name="dense1")

    def net(x):
        h = wn.dense(wn.dense(x), weight=a)
        return wn.dense(wn.dense(wn.dense(wn.dense(h, weight=b), weight=c), weight=b))

    assert set(drawn(net)) == {"dense1", "W", "W_2", "dense1_2", "dense2"}

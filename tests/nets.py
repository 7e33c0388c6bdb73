"""The catalogue of networks that every reading must meet: name -> (network, shape of one sample).

Those up to the line of `make_peer.py` have golden values of neural-tangents; the rest it cannot express.
"""

from __future__ import annotations

import widenet as wn
from widenet.activations import activation
from widenet.program.ops import Weight


def dense(sigma_w=1.3, sigma_b=0.4):
    return wn.dense(sigma_w=sigma_w, sigma_b=sigma_b)


def mlp(*activations):
    layers = [dense()]
    for phi in activations:
        layers += [phi, dense()]
    return wn.serial(*layers)


def residual(x):
    h = wn.dense(x, 1.2)
    for _ in range(3):
        h = h + wn.dense(wn.relu(h), 0.98, 0.14)
    return wn.dense(wn.erf(h), 1.1)


def two_branches(x):
    z = wn.relu(dense()(x))
    return dense()(wn.relu(wn.dense(z, 0.7, 0.2) + dense()(wn.erf(dense()(z)))))


def concatenated(x):
    return dense()(wn.concatenate(wn.relu(wn.dense(x, 1.3, 0.4)), wn.erf(wn.dense(x, 0.8, 0.1))))


def gated(x):
    gate = wn.scaled_erf(0.5, SIGMOID_LIKE_SCALE, 0.5)
    return dense()(gate(dense()(x)) * wn.relu(dense()(x)))


SIGMOID_LIKE_SCALE = 1 / 2.4020563531719796  # the peer's Sigmoid_like is erf(x / 2.402...) / 2 + 1/2


def rowwise(*readout):
    return wn.serial(dense(), wn.relu, dense(), wn.relu, *readout)


PEER = {
    "mlp_relu": (mlp(wn.relu, wn.relu), (6,)),
    "mlp_relu_deep": (
        wn.serial(dense(1.5, 0.1), wn.repeat(wn.serial(wn.relu, dense(1.5, 0.1)), 20)),
        (6,),
    ),
    "mlp_leaky": (mlp(wn.leaky_relu(0.2), wn.leaky_relu(0.2)), (6,)),
    "mlp_abs": (mlp(wn.absolute, wn.absolute), (6,)),
    "mlp_abrelu": (mlp(wn.abrelu(-0.3, 1.7), wn.abrelu(-0.3, 1.7)), (6,)),
    "mlp_erf": (mlp(wn.erf, wn.erf), (6,)),
    "mlp_scaled_erf": (mlp(*[wn.scaled_erf(1.5, 0.7, 0.2)] * 2), (6,)),
    "mlp_gelu": (mlp(wn.gelu, wn.gelu), (6,)),
    "mlp_sin": (mlp(*[wn.sine(1.1, 0.8, 0.3)] * 2), (6,)),
    "mlp_cos": (mlp(*[wn.cosine(1.1, 0.8, 0.3)] * 2), (6,)),
    "mlp_rbf": (mlp(*[wn.rbf(0.6)] * 2), (6,)),
    "mlp_exp": (mlp(wn.exponential(0.5, 0.6)), (6,)),
    "mlp_gaussian": (mlp(*[wn.gaussian(1.2, 0.4)] * 2), (6,)),
    "mlp_polynomial": (mlp(*[wn.polynomial((0.2, -0.5, 0.3, 0.1))] * 2), (6,)),
    "mlp_monomial": (mlp(wn.monomial(3)), (6,)),
    "mlp_rectified_square": (mlp(wn.rectified_power(2)), (6,)),
    "mlp_mixed": (mlp(wn.relu, wn.erf, wn.gelu), (6,)),
    "residual": (residual, (6,)),
    "two_branches": (two_branches, (6,)),
    "concatenated": (concatenated, (6,)),
    "gated": (gated, (6,)),
    "rowwise_mean": (rowwise(wn.position_mean(), dense()), (5, 6)),
    "rowwise_sum": (rowwise(wn.position_sum(), dense()), (5, 6)),
    "rowwise_flatten": (rowwise(wn.flatten(), dense()), (5, 6)),
    "rowwise_select": (rowwise(wn.select(position=2), dense()), (5, 6)),
}


def doubled(x):
    h = wn.dense(x)
    return wn.dense(wn.relu(h + h))


def after_the_activation(x):
    h = wn.dense(x, 1.0, 0.3)
    return wn.dense(wn.relu(h) + 0.5 * wn.erf(wn.dense(wn.relu(h))) + 0.7 * h, 1.2)


def correlated_branches(x):
    h = wn.dense(x, 1.1, 0.2)
    return wn.dense(wn.relu(h) - 0.5 * wn.erf(h), 1.2, 0.1)


def tied_layers(x):
    w = Weight()
    h = wn.dense(x, 1.2)
    for _ in range(2):
        h = wn.dense(wn.relu(h), 1.4, 0.2, weight=w) + 0.3 * h
    return wn.dense(wn.erf(h))


def weight_shared_by_positions(x):
    w = Weight()
    first, last = (wn.dense(wn.select(x, t), 1.2, 0.3, weight=w) for t in (0, 4))
    return wn.dense(wn.relu(first) + wn.relu(last))


def gate_and_skip(x):
    h = wn.dense(x, 1.1, 0.2)
    return wn.dense(h + wn.sigmoid(wn.dense(x)) * wn.tanh(h) * wn.dense(x, 0.8))


def dropped(x):
    return wn.dense(wn.dropout(wn.relu(wn.dense(x, 1.3, 0.2)), 0.3), 1.1, 0.1)


def skip_around_repeat(x):
    h = wn.dense(x)
    return wn.dense(wn.relu(h + wn.repeat(wn.serial(wn.relu, wn.dense(sigma_w=1.4)), 3)(h)))


def concatenated_rows(x):
    h = wn.dense(x, 1.1, 0.1)
    both = wn.concatenate(wn.relu(h), wn.gelu(wn.dense(wn.relu(h), 0.9)), wn.relu(h))
    return wn.dense(wn.position_mean(both), 1.2, 0.2)


def repeated_rows(x):
    h = wn.repeat(wn.residual(wn.serial(wn.relu, wn.dense(sigma_w=0.8))), 3)(wn.dense(x, 1.1, 0.2))
    return wn.dense(wn.relu(wn.dense(wn.position_mean(wn.relu(h)), 1.1)))


def softsign(u):
    return u / (1 + abs(u))


CNN_POOLED = wn.serial(
    wn.conv(3, 1.2, 0.1), wn.relu, wn.average_pool(2), wn.conv((2, 1), 1.3, 0.2, stride=(2, 1)), wn.relu,
    wn.position_mean(), dense(1.1, 0.1),
)  # fmt: skip
CNN_REPEATED = wn.serial(
    wn.conv(3, 1.2, 0.1), wn.repeat(wn.residual(wn.serial(wn.relu, wn.conv(3, 0.8, 0.1))), 3), wn.position_mean(),
    dense(1.1, 0.1),
)  # fmt: skip
SEPARABLE = wn.serial(
    wn.conv(3, 1.2, 0.1, padding="CIRCULAR"), wn.erf, wn.conv_depthwise(3, 1.1, 0.2, dilation=2), dense(1.2), wn.relu,
    wn.flatten(), dense(),
)  # fmt: skip
ATTENTION = wn.serial(
    dense(1.2, 0.1), wn.relu, wn.self_attention(sigma_b=0.1, scaling="linear", causal=True), wn.layer_norm(),
    dense(1.1, 0.1), wn.erf, wn.position_mean(), dense(1.1),
)  # fmt: skip

OURS = {
    "doubled": (doubled, (6,)),
    "after_the_activation": (after_the_activation, (6,)),
    "correlated_branches": (correlated_branches, (6,)),
    "tied_layers": (tied_layers, (6,)),
    "shared_by_positions": (weight_shared_by_positions, (5, 6)),
    "rnn": (wn.zoo.rnn(wn.erf, sigma_w=1.3, sigma_b=0.2), (4, 6)),
    "rnn_relu": (wn.zoo.rnn(wn.relu, sigma_w=1.2), (3, 6)),
    "gru": (wn.zoo.gru(tied=False, sigma_w=1.2, sigma_b=0.1), (3, 6)),
    "gate_and_skip": (gate_and_skip, (6,)),
    "dropped": (dropped, (6,)),
    "skip_around_repeat": (skip_around_repeat, (6,)),
    "concatenated_rows": (concatenated_rows, (4, 6)),
    "repeated_rows": (repeated_rows, (4, 6)),
    "cnn_pooled": (CNN_POOLED, (5, 4, 2)),
    "cnn_flat": (wn.serial(wn.conv(3, 1.2, 0.1, padding="VALID"), wn.relu, wn.flatten(), dense(1.1, 0.1)), (5, 4, 2)),
    "cnn_repeated": (CNN_REPEATED, (6, 2)),
    "separable": (SEPARABLE, (6, 2)),
    "attention": (ATTENTION, (4, 6)),
    "normalized": (wn.serial(dense(1.2, 0.1), wn.relu, wn.layer_norm(), dense(1.1), wn.gelu, dense(1.1)), (6,)),
    "mlp_tanh": (mlp(wn.tanh, wn.tanh), (6,)),
    "mlp_elu": (mlp(wn.elu(1.0)), (6,)),
    "mlp_step": (mlp(wn.step, wn.relu), (6,)),
    "mlp_rectified_cube_deep": (wn.serial(*[dense(0.7, 0.1), wn.rectified_power(3)] * 3, dense(0.7, 0.1)), (6,)),
    "mlp_own": (mlp(activation(softsign, name="softsign", breakpoints=(0.0,))), (6,)),
}

NETS = PEER | OURS

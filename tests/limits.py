"""Networks that only this library has kernels of: their checks are finite networks of growing width."""

from __future__ import annotations

from functools import partial

import numpy as np

import widenet as wn
from widenet.program.ops import Weight

DENSE = wn.dense(sigma_w=1.2, sigma_b=0.1)


def tied_gate(x):
    h = wn.dense(x, 1.2, 0.3)
    return wn.dense(wn.sigmoid(h) * wn.relu(h))


def swiglu(x):
    h = wn.erf(wn.dense(x, 1.3))
    return wn.dense(wn.silu(wn.dense(h, 1.2, 0.2)) * wn.dense(h, 1.1, 0.1))


def gate_and_skip(x):
    h = wn.erf(wn.dense(x, 1.3))
    return wn.dense(wn.dense(h, 1.2) * wn.tanh(wn.dense(h, 0.8, 0.2)) + h)


def recurrent(cell, gates):
    """A network that takes steps of `cell(drive, state)`, with the weights of its gates tied over time."""

    def net(x):
        weights = {gate: (Weight(), Weight()) for gate in gates}

        def drive(gate, state, *, x):
            from_data = wn.dense(x, 1.2, 0.1, weight=weights[gate][0])
            return from_data if state is None else from_data + wn.dense(state, 1.1, weight=weights[gate][1])

        state = None
        for t in range(x.positions[0]):
            state = cell(partial(drive, x=wn.time_step(x, t)), state)
        return wn.dense(state[0] if isinstance(state, tuple) else state)

    return net


def gru_cell(drive, state):
    if state is None:
        return wn.tanh(drive("m", None))
    update, reset = wn.sigmoid(drive("z", state)), wn.sigmoid(drive("r", state))
    return state + update * (wn.tanh(drive("m", reset * state)) - state)


def lstm_cell(drive, state):
    h, c = state or (None, None)
    written = wn.sigmoid(drive("i", h)) * wn.tanh(drive("g", h))
    c = written if c is None else wn.sigmoid(drive("f", h)) * c + written
    return wn.sigmoid(drive("o", h)) * wn.tanh(c), c


def attention(**options):
    return wn.serial(DENSE, wn.self_attention(sigma_b=0.1, **options), wn.position_mean(), DENSE)


def block(norm):
    mlp = wn.serial(DENSE, wn.gelu, DENSE)
    return wn.serial(DENSE, wn.transformer_block(wn.self_attention(heads=8), mlp, norm=norm), wn.position_mean(), DENSE)


def cross_attention(x):
    asks, given = DENSE(wn.mix_positions(x, np.eye(3)[:2], (2,))), DENSE(x)
    return wn.serial(wn.position_mean(), DENSE)(wn.self_attention(asks, context=given, heads=8))


def tokens(x):
    h = wn.embed(x, 7, 1.1)
    h = h + wn.position_table(h, 0.6)
    return wn.serial(DENSE, wn.relu, wn.position_mean(), DENSE)(h)


VECTOR, SEQUENCE = (5,), (3, 4)
LIMITS = {  # the network, and the shape of a sample
    "tied gate": (tied_gate, VECTOR),
    "SwiGLU": (swiglu, VECTOR),
    "gate and skip": (gate_and_skip, VECTOR),
    "GRU, tied": (recurrent(gru_cell, "zrm"), (2, 4)),
    "LSTM, tied": (recurrent(lstm_cell, "ifgo"), (2, 4)),
    "layer norm of relu": (wn.serial(DENSE, wn.relu, wn.layer_norm(), DENSE, wn.erf, DENSE), VECTOR),
    "layer norm of relu over positions": (
        wn.serial(wn.conv(3, 1.2, 0.1), wn.relu, wn.layer_norm(positions=True), DENSE, wn.erf, wn.flatten(), DENSE),
        SEQUENCE,
    ),
    "RMS norm of gelu": (wn.serial(DENSE, wn.gelu, wn.rms_norm(), DENSE, wn.erf, DENSE), VECTOR),
    "untied convolution, dilated": (
        wn.serial(wn.conv_local(3, 1.2, 0.2), wn.relu, wn.conv(2, 1.2, dilation=2), wn.erf, wn.flatten(), DENSE),
        (5, 4),
    ),
    "transposed convolution": (
        wn.serial(
            wn.conv_transpose(3, 1.2, 0.2, stride=2), wn.relu, wn.conv(2, stride=2), wn.erf, wn.position_mean(), DENSE
        ),
        SEQUENCE,
    ),
    "grouped convolution": (
        wn.serial(wn.conv(3, 1.2, 0.2), wn.relu, wn.conv(3, 1.3, 0.3, groups=2), wn.relu, wn.position_mean(), DENSE),
        SEQUENCE,
    ),
    "depthwise convolution": (
        wn.serial(
            wn.conv(3, 1.2, 0.2), wn.relu, wn.conv_depthwise(3, 1.3, 0.3), DENSE, wn.relu, wn.position_mean(), DENSE
        ),
        SEQUENCE,
    ),
    "attention, 1/n": (attention(scaling="linear"), SEQUENCE),
    "attention, identity": (attention(weights="identity", heads=8), SEQUENCE),
    "attention, softmax": (attention(weights="softmax", heads=8), SEQUENCE),
    "attention, causal": (attention(weights="softmax", causal=True, heads=8), SEQUENCE),
    "attention, relu": (attention(weights="relu", heads=8), SEQUENCE),
    "cross attention": (cross_attention, SEQUENCE),
    "block, pre-norm": (block("pre"), SEQUENCE),
    "block, post-norm": (block("post"), SEQUENCE),
    "tokens": (tokens, (4,)),
}


def data(name, n=3):
    """Samples of unequal norms for a network of this list; token ids for the one that reads them."""
    rng, shape = np.random.default_rng(0), LIMITS[name][1]
    if name == "tokens":
        return rng.integers(0, 7, (n, *shape)).astype(float)
    return rng.normal(size=(n, *shape)) * np.linspace(0.6, 1.4, n).reshape(-1, *[1] * len(shape))

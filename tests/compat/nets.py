"""Networks and data in the interface of the peer; s is its module `stax`, or ours."""

import numpy as np


def sequences(s):
    """Data `[n, 6, 3]`."""
    conv = s.Conv(4, (3,), padding="SAME", W_std=1.4, b_std=0.2)
    start, end = (conv, s.Relu()), (s.Flatten(), s.Dense(1, 1.1, 0.3))
    weights = np.linspace(-1, 1, 12).reshape(2, 6)

    def attention(**options):
        stds = {"W_key_std": 1.2, "W_value_std": 0.9, "W_query_std": 0.8, "W_out_std": 1.1, "b_std": 0.2}
        return s.serial(conv, s.GlobalSelfAttention(4, 4, 4, 2, **stds, **options), s.Relu(), *end)

    def decay(d):
        return 0.9**d

    return {
        "index": s.serial(*start, s.Index(s.Slice[:, 1:5:2]), conv, s.Relu(), *end),
        "index_integer": s.serial(*start, s.Index(s.Slice[:, -1]), s.Dense(1)),
        "dot_general_scalar": s.serial(*start, s.DotGeneral(rhs=2.0), *end),
        "dot_general_right": s.serial(
            *start, s.DotGeneral(rhs=weights[0], dimension_numbers=(((1,), (0,)), ((), ()))), s.Dense(1)
        ),
        "dot_general_left": s.serial(
            *start,
            s.DotGeneral(lhs=weights, dimension_numbers=(((1,), (1,)), ((), ()))),
            s.GlobalSumPool(batch_axis=1),
            s.Dense(1),
        ),
        "pool_one": s.serial(*start, s.AvgPool((2,)), conv, s.Relu(), s.GlobalAvgPool(), s.Dense(1)),
        "concat_positions": s.serial(
            s.FanOut(2),
            s.parallel(conv, s.serial(*start, conv)),
            s.FanInConcat(1),
            s.Relu(),
            s.GlobalAvgPool(),
            s.Dense(1),
        ),
        "concat_channels": s.serial(
            s.FanOut(3),
            s.parallel(s.serial(conv, s.Relu()), s.serial(s.Dense(12, 0.7), s.Erf()), s.Identity()),
            s.FanInConcat(-1),
            s.Dense(4),
            s.Relu(),
            *end,
        ),
        "layer_norm_eps": s.serial(conv, s.LayerNorm(eps=0.1), s.Relu(), *end),
        "attention_concat": attention(pos_emb_type="CONCAT", n_chan_pos_emb=2, W_pos_emb_std=0.7),
        "attention_values": attention(pos_emb_type="SUM", pos_emb_decay_fn=decay, val_pos_emb=True, W_pos_emb_std=0.7),
        "attention_relu": attention(attention_mechanism="RELU"),
        "attention_identity": attention(attention_mechanism="IDENTITY", linear_scaling=False),
        "channels_first": s.serial(
            s.Conv(4, (3,), dimension_numbers=("NCH", "HIO", "NCH"), padding="SAME", W_std=1.4, b_std=0.2),
            s.Relu(),
            s.AvgPool((2,), channel_axis=1),
            s.GlobalAvgPool(channel_axis=1),
            s.Dense(1),
        ),
        "standard": s.serial(
            s.Conv(5, (3,), (2,), "SAME", 1.3, 0.4, parameterization="standard", s=(1, 2)),
            s.Relu(),
            s.ConvLocal(4, (2,), None, "VALID", 1.2, 0.3, parameterization="standard", s=(2, 1)),
            s.Relu(),
            s.GlobalAvgPool(),
            s.Dense(2, 1.1, 0.6, parameterization="standard"),
        ),
        "dropout": s.serial(*start, s.Dropout(0.7), conv, s.Relu(), s.GlobalAvgPool(), s.Dense(1)),
        "circular": s.serial(
            s.Conv(4, (3,), (2,), "CIRCULAR", 1.4, 0.2), s.Relu(), s.SumPool((2,), None, "CIRCULAR"), *end
        ),
    }


def vectors(s):
    """Data `[n, 5]`."""
    dense = s.Dense(8, 1.3, 0.4)

    def dual(k, q1, q2):
        import jax.numpy as jnp

        return jnp.arcsin(2 * k / jnp.sqrt((1 + 2 * q1) * (1 + 2 * q2))) * 2 / jnp.pi

    def erf(x):
        import jax

        return jax.scipy.special.erf(x)

    def sin(x):
        import jax.numpy as jnp

        return jnp.sin(x)

    def mlp(*layers):
        return s.serial(dense, *layers, dense)

    def standard(width, b_std=0.5, widths=(1, 1), w_std=1.2):
        return s.Dense(width, w_std, b_std, parameterization="standard", s=widths)

    return {
        "gabor": mlp(s.Gabor(), dense, s.Gabor()),
        "exp_normalized": mlp(s.ExpNormalized(0.7, -0.9), dense, s.ExpNormalized()),
        "sigmoid_like": mlp(s.Sigmoid_like()),
        "sign": mlp(s.Sign()),
        "monomial_2": mlp(s.Monomial(2)),
        "abs_leaky": mlp(s.Abs(), dense, s.LeakyRelu(0.3)),
        "identity": s.serial(s.Identity(), dense, s.Identity()),
        "elementwise": mlp(s.Elementwise(erf, dual), dense, s.Elementwise(erf, dual)),
        "elementwise_numerical": mlp(s.ElementwiseNumerical(sin, 60)),
        "standard_widths": s.serial(standard(8, widths=(1, 2)), s.Relu(), standard(3, None, (2, 1))),
        "standard_residual": s.serial(
            standard(6),
            s.FanOut(2),
            s.parallel(s.serial(s.Relu(), standard(6, 0.2)), s.Identity()),
            s.FanInSum(),
            s.Relu(),
            standard(2, 0.0, w_std=0.8),
        ),
        "standard_repeat": s.serial(standard(6), s.repeat(s.serial(s.Relu(), standard(6)), 4)),
        "prod": s.serial(s.FanOut(2), s.parallel(mlp(s.Relu()), mlp(s.Erf())), s.FanInProd(), dense),
        "repeat_first": s.repeat(s.serial(s.Dense(5, 1.3, 0.4), s.Erf()), 3),
    }


def images(s):
    """Data `[n, 4, 5, 3]`: name -> (network, keyword arguments of the call as names of data)."""
    dense = s.Dense(4, 1.3, 0.2)
    end = (s.Relu(), s.GlobalAvgPool(), s.Dense(1))
    rows = s.serial(dense, s.Relu(), s.Aggregate(aggregate_axis=1), dense, *end)
    edges = s.Aggregate(aggregate_axis=1, implementation="SPARSE")
    return {
        "aggregate_rows": (rows, "p"),
        "aggregate_edges": (s.serial(dense, s.Relu(), edges, dense, *end), "e"),
        "image_slice": (s.serial(s.Conv(4, (2, 2)), s.Relu(), s.Index(s.Slice[:, 0, 1:]), s.Conv(4, (2,)), *end), ""),
        "norm_all": (s.serial(s.Conv(4, (2, 2)), s.LayerNorm((1, 2, 3)), *end), ""),
    }


def finite(s):
    """Networks whose outputs are compared at the parameters of the peer, for data `[n, 6, 6, 3]`."""
    return {
        "finite_conv": s.serial(
            s.Conv(5, (3, 2), (2, 1), "SAME", 1.4, 0.2),
            s.Relu(),
            s.AvgPool((2, 2), padding="SAME"),
            s.Conv(4, (2, 2), None, "CIRCULAR", 1.1, None),
            s.LayerNorm(),
            s.Gelu(),
            s.Flatten(),
            s.Dense(3, 1.2, 0.4),
        ),
        "finite_standard": s.serial(
            s.Conv(5, (3, 3), None, "VALID", 1.4, 0.2, parameterization="standard", s=(1, 2)),
            s.Abs(),
            s.GlobalAvgPool(),
            s.Dense(3, 1.2, 0.4, parameterization="standard", s=(2, 1)),
        ),
    }


def inputs():
    """The data of all of them."""
    rng = np.random.default_rng(3)
    out = {"s1": rng.normal(size=(3, 6, 3)), "s2": rng.normal(size=(2, 6, 3))}
    out |= {"v1": rng.normal(size=(3, 5)), "v2": rng.normal(size=(2, 5))}
    out |= {"i1": rng.normal(size=(2, 4, 5, 3)), "i2": rng.normal(size=(3, 4, 5, 3))}
    out |= {"p1": rng.uniform(size=(2, 4, 4)), "p2": rng.uniform(size=(3, 4, 4))}
    out |= {"e1": rng.integers(-1, 4, size=(2, 7, 1, 2)), "e2": rng.integers(-1, 4, size=(3, 5, 1, 2))}
    for name in ("e1", "e2"):
        out[name][(out[name] < 0).any(axis=(2, 3))] = -1  # the peer reads a negative tail as the last vertex
    out |= {"f": rng.normal(size=(2, 6, 6, 3)), "m1": np.arange(6) < [[6], [3], [5]], "m2": np.arange(6) < [[4], [6]]}
    out |= {"w0": rng.normal(size=(5, 4)), "w1": rng.normal(size=4), "w2": rng.normal(size=(4, 6))}
    out |= {"y": rng.normal(size=(6, 2)), "x": rng.normal(size=(6, 5)), "t": rng.normal(size=(4, 5))}
    return out

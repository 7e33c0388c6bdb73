"""The architectures that the peer can express too: name -> network; golden values by golden/make_architectures.py."""

from __future__ import annotations

import math

import widenet as wn

SQRT_2 = math.sqrt(2)


def dense(sigma_w=1.3, sigma_b=0.2):
    return wn.dense(sigma_w=sigma_w, sigma_b=sigma_b)


def conv(window=3, *, stride=1, padding="SAME"):
    return wn.conv(window=window, sigma_w=1.4, sigma_b=0.2, stride=stride, padding=padding)


def local():
    return wn.conv_local(window=3, sigma_w=1.4, sigma_b=0.2, padding="VALID")


def transposed(padding):
    return wn.conv_transpose(window=3, sigma_w=1.4, sigma_b=0.2, stride=2, padding=padding)


def around(middle):
    return wn.serial(conv(), wn.relu, middle, conv(), wn.relu, wn.flatten())


def attention(**options):
    return wn.self_attention(sigma_q=0.8, sigma_k=1.2, sigma_v=0.9, sigma_o=1.1, sigma_b=0.2, **options)


def with_positions_in_the_scores(x):
    """The peer's positional embeddings: queries and keys see them, values do not."""
    h = conv()(x)
    where, tied = h + 0.7 * wn.position_table(h), wn.Weight()
    query, key = wn.dense(where, 0.8, weight=tied), wn.dense(where, 1.2, weight=tied)
    mixed = wn.dense(wn.attend(query, key, wn.dense(h, 0.9)), 1.1, 0.2)
    return wn.position_mean(mixed)


def masked_conv(x):
    h = wn.masked(wn.relu(wn.masked(dense()(wn.masked(x)))))
    return wn.masked_mean(wn.masked(wn.relu(wn.masked(conv()(h)))))


def masked_attention(x):
    h = wn.masked(wn.relu(wn.masked(dense()(wn.masked(x)))))
    return wn.masked_mean(wn.masked(attention(scaling="linear", masked=True)(h)))


def myrtle(*repeats):
    layers = []
    for times in repeats:
        layers += [wn.conv(window=3, sigma_w=SQRT_2), wn.relu] * times + [wn.average_pool(window=2)]
    return wn.serial(*layers, wn.flatten(), wn.dense(sigma_w=SQRT_2))


def wide_resnet_block(stride):
    branch = wn.serial(wn.relu, wn.conv(window=3, stride=stride), wn.relu, wn.conv(window=3))
    return lambda x: branch(x) + wn.conv(x, 3, stride=stride)


def residual_conv(x):
    h = conv()(x)
    for _ in range(3):
        h = h + wn.serial(wn.relu, conv(), wn.relu, conv())(h)
    return wn.serial(wn.relu, wn.position_mean(), dense())(h)


POOL = wn.position_mean()
SEQUENCES = {
    "conv1d_same_flatten": wn.serial(conv(), wn.relu, conv(), wn.relu, wn.flatten(), dense()),
    "conv1d_valid_pool": wn.serial(conv(padding="VALID"), wn.relu, conv(padding="VALID"), wn.relu, POOL),
    "conv1d_circular_pool": wn.serial(
        conv(padding="CIRCULAR"), wn.relu, conv(padding="CIRCULAR"), wn.relu, POOL, dense()
    ),
    "conv1d_stride2_flatten": wn.serial(conv(stride=2), wn.relu, conv(stride=2), wn.relu, wn.flatten()),
    "conv1d_local_flatten": wn.serial(local(), wn.relu, local(), wn.flatten()),
    "conv1d_local_pool": wn.serial(local(), wn.relu, local(), wn.relu, POOL),
    "conv1d_transpose_same_pool": wn.serial(transposed("SAME"), wn.relu, transposed("SAME"), wn.relu, POOL),
    "conv1d_transpose_valid_flatten": wn.serial(
        transposed("VALID"), wn.relu, transposed("VALID"), wn.relu, wn.flatten()
    ),
    "avg_pool1d": around(wn.average_pool(window=3, stride=2)),
    "avg_pool1d_same_edges": around(wn.average_pool(window=3, stride=2, padding="SAME", normalize_edges=True)),
    "avg_pool1d_same_noedges": around(wn.average_pool(window=3, stride=2, padding="SAME")),
    "sum_pool1d_circular": around(wn.sum_pool(window=3, stride=2, padding="CIRCULAR")),
    "resize1d_linear": around(wn.resize(shape=12)),
    "resize1d_nearest": around(wn.resize(shape=12, method="nearest")),
    "layer_norm1d": wn.serial(conv(), wn.layer_norm(), wn.relu, wn.flatten()),
    "layer_norm_positions": wn.serial(conv(), wn.layer_norm(positions=True), wn.relu, wn.flatten()),
    "attention_linear": wn.serial(conv(), attention(scaling="linear"), POOL),
    "attention_identity_sqrt": wn.serial(conv(), attention(weights="identity"), POOL),
    "attention_pos_sum": with_positions_in_the_scores,
}
GRAPHS = {
    "graph_aggregate": wn.serial(dense(), wn.aggregate(), wn.relu, dense(), wn.aggregate(), POOL),
}
MASKED = {"masked_conv": masked_conv, "masked_attention": masked_attention}
POSITIONS = {"positions_equal": "equal", "positions_all": "all"}
KEEPS_POSITIONS = wn.serial(conv(), wn.relu, conv())
IMAGES = {
    "conv2d_same_pool": wn.serial(conv(), wn.relu, conv(), wn.relu, POOL),
    "conv2d_valid_flatten": wn.serial(conv(padding="VALID"), wn.relu, conv(padding="VALID"), wn.relu, wn.flatten()),
    "conv2d_rect": wn.serial(*[conv((3, 2), stride=(2, 1)), wn.relu] * 2, POOL),
    "conv2d_erf_pool": wn.serial(conv(), wn.erf, conv(), wn.erf, POOL),
    "lenet": wn.serial(
        *[conv(5), wn.relu, wn.average_pool(window=2), conv(padding="VALID"), wn.relu, wn.average_pool(window=2)],
        *[wn.flatten(), dense(), wn.relu, dense()],
    ),
    "myrtle5": myrtle(2, 1, 1),
    "myrtle7": myrtle(2, 2, 2),
    "myrtle10": myrtle(3, 3, 3),
    "wide_resnet": wn.serial(
        wn.conv(window=3), *map(wide_resnet_block, (1, 2, 2)), wn.average_pool(window=2), wn.flatten(), wn.dense()
    ),
    "resnet_preact": residual_conv,
}
VOLUMES = {"conv3d_pool": wn.serial(conv(), wn.relu, conv(), wn.relu, POOL)}
PEER_ARCHITECTURES = {
    letter + name: net
    for letter, nets in (("c:", SEQUENCES | GRAPHS | MASKED), ("i:", IMAGES), ("v:", VOLUMES))
    for name, net in nets.items()
}

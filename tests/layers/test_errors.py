"""Bad architectures and bad data: refused before anything long starts, with the remedy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import widenet as wn

IMAGES, SEQUENCES = np.ones((2, 4, 4, 3)), np.ones((2, 5, 3))
HEAD = (wn.position_mean(), wn.dense())


@pytest.mark.parametrize(
    ("layers", "x", "message"),
    [
        (
            [wn.conv(5, padding="VALID")],
            IMAGES,
            r"window of \(5, 5\).*larger than the positions \(4, 4\).*padding='SAME'",
        ),
        ([wn.conv(3, padding="VALID", dilation=2)], IMAGES, "larger than the positions"),
        ([wn.average_pool(6, padding="VALID")], SEQUENCES, "larger than the positions"),
        ([wn.conv((3, 3, 3))], IMAGES, "has 3 entries, but there are 2 position axes"),
        ([wn.conv(3, stride=0)], IMAGES, "stride must be whole numbers >= 1"),
        ([wn.conv(3, padding="same")], IMAGES, "unknown padding 'same'; choose from VALID, SAME, CIRCULAR"),
        ([wn.conv(3, padding=((1, 1),))], IMAGES, "one pair .* for each of 2 axes"),
        ([wn.conv(3, groups=2)], IMAGES, "put a conv layer with groups=1 before it"),
        ([wn.conv(3), wn.conv(3, groups=3, width=4)], IMAGES, "3 groups"),
        ([wn.conv(3), wn.conv(3, groups=0)], IMAGES, "groups must be a whole number >= 1"),
        ([wn.conv_depthwise(3)], IMAGES, "put a dense or conv layer before it"),
        ([wn.conv(3), wn.conv_depthwise(3), wn.relu], IMAGES, "put a dense layer in between"),
        ([wn.dense(), wn.aggregate(operator=np.eye(4))], SEQUENCES, r"5 nodes is \(5, 5\); got \(4, 4\)"),
        ([wn.dense(), wn.aggregate(operator=scipy.sparse.eye(6))], SEQUENCES, r"5 nodes is \(5, 5\); got \(6, 6\)"),
        ([wn.self_attention(scaling="cube")], SEQUENCES, "must be 'sqrt' or 'linear'"),
        ([wn.self_attention(weights="sigmoid")], SEQUENCES, "unknown weights 'sigmoid'; choose from"),
        ([wn.dense(), wn.embed(vocabulary=3)], SEQUENCES, "make it the first layer"),
        ([wn.position_table(covariance=np.eye(4))], SEQUENCES, r"covariance of shape \(5, 5\)"),
        ([wn.position_table(covariance=-np.eye(5))], SEQUENCES, "positive semidefinite"),
        ([wn.dense(), wn.resize(shape=(3,), method="splines")], SEQUENCES, "unknown method 'splines'"),
    ],
)
def test_an_architecture_that_is_not_defined_is_refused(layers, x, message):
    with pytest.raises(ValueError, match=message):
        wn.kernel(wn.serial(*layers, *HEAD))(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": np.ones((2, 4), bool)}, r"the mask must be \(2, 5\).*got \(2, 4\)"),
        ({"mask": np.ones((2, 5))}, "must be boolean .*: write mask=mask > 0"),
        ({"mask": np.zeros((2, 5), bool)}, "no position left by its mask"),
        ({"graph": np.ones((2, 4, 4))}, r"graph must be \(2, 5, 5\)"),
    ],
)
def test_masks_and_graphs_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        wn.samples(SEQUENCES, **options)


@pytest.mark.parametrize(
    ("layer", "what"), [(wn.masked(), "mask"), (wn.masked_mean(), "mask"), (wn.aggregate(), "graph")]
)
def test_data_without_the_mask_or_graph_that_a_layer_reads_are_refused(layer, what):
    net = wn.serial(wn.dense(), layer, lambda h: wn.position_mean(h) if h.positions else h, wn.dense())
    with pytest.raises(ValueError, match=f"samples\\(x, {what}="):
        wn.kernel(net)(SEQUENCES)


@pytest.mark.parametrize(("ids", "which"), [([[0, 7]], 7), ([[0, -1]], -1), ([[0, 0.5]], 0.5)])
def test_token_ids_that_are_none_are_refused(ids, which):
    net = wn.serial(wn.embed(vocabulary=7), *HEAD)
    with pytest.raises(ValueError, match=rf"from 0 to 6, the vocabulary of embed; got {which}.*map unknown tokens"):
        wn.kernel(net)(np.asarray(ids))

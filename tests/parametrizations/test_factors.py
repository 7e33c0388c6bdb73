"""Factors of every kind of parameter, against the tables of the papers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.parametrizations.models import mlp, transformer
from widenet import parametrizations as wp

SPECS = wp.infer(transformer(8, tokens=4), transformer(32, layers=6, tokens=4), stacked="^blocks", branches="^blocks")
N, L = 4, 3  # ratios
CLASSES = {
    "embed/embedding": "input",
    "blocks/up/kernel": "hidden",
    "blocks/attention/out/kernel": "hidden",
    "head/kernel": "output",
    "blocks/up/bias": "vector",
    "blocks/norm/scale": "vector",
    "temperature": "scalar",
    "head/bias": "scalar",
}


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [  # yang2022, tables 3 and 8: input, hidden, output, vector
        (wp.sgd, (N, 1, 1 / N, N)),
        (wp.adamw, (1, 1 / N, 1 / N, 1)),
        (wp.muon(), (N**0.5, 1, N**-0.5, N**0.5)),
        (wp.kfac(), (1, 1, 1, 1)),
        (wp.muon("spectral"), (1, 1, 1, N**0.5)),
        (wp.muon("kimi"), (1, N**-0.5, 1 / N, N**0.5)),
        (wp.muon(lambda fan_in, _: fan_in), (N**0.5, 1 / N, N**-1.5, N**0.5)),
    ],
    ids=str,
)
def test_learning_rates_of_mup(optimizer, rates):
    made = wp.factors(SPECS, wp.mup, optimizer).column("rate")
    wanted = dict(zip(("input", "hidden", "output", "vector"), rates, strict=True)) | {"scalar": 1}
    for path, role in CLASSES.items():
        assert made[path] == pytest.approx(wanted[role]), path


def test_initialization_multipliers_and_epsilon():
    plain, tied = (wp.factors(SPECS, p, wp.adam) for p in (wp.mup, wp.mup.to_form("B")))
    roles = SPECS.roles()
    for path in CLASSES:
        init, multiplier, epsilon = {
            "input": (1, 1, 1 / N),
            "hidden": (N**-0.5, 1, 1 / N),
            "output": (1 / N, 1, 1),
            "vector": (1, 1, 1 / N),
            "scalar": (1, 1, 1),
        }[roles[path]]
        assert plain.by_path[path][:2] == (init, multiplier)
        assert plain.by_path[path].epsilon == epsilon
    assert tied.by_path["head/kernel"] == pytest.approx((1, 1 / N, 1, 1, 1 / N))


@pytest.mark.parametrize(
    ("scheme", "optimizer", "rate", "decay", "epsilon"),
    [  # of hidden matrices in a branch, over those of muP: zheng2026, tables 3 to 13; dey2025, table 1
        (wp.depth_sqrt, wp.sgd, 1, L**-0.5, None),
        (wp.depth_sqrt, wp.adamw, L**-0.5, 1, L**-0.5),
        (wp.depth_linear, wp.sgd, L, 1 / L, None),
        (wp.depth_linear, wp.adamw, 1, 1, 1 / L),
        (wp.depth_linear, wp.muon(), 1, 1, None),
        (wp.depth("3/4"), wp.adamw, L**-0.25, 1, L**-0.75),
    ],
)
def test_depth_counts_in_branches_only(scheme, optimizer, rate, decay, epsilon):
    made, flat = (wp.factors(SPECS, p, optimizer).by_path for p in (wp.mup.with_depth(scheme), wp.mup))
    for path in CLASSES:
        inside = path.startswith("blocks")
        assert made[path].rate / flat[path].rate == pytest.approx(rate if inside else 1)
        assert made[path].decay / flat[path].decay == pytest.approx(decay if inside else 1)
        if epsilon is not None:
            assert made[path].epsilon / flat[path].epsilon == pytest.approx(epsilon if inside else 1)


def test_depth_without_branches_and_in_deep_branches_is_remarked():
    flat = wp.infer(mlp(4), mlp(8))
    assert "nothing is in a residual branch" in str(wp.factors(flat, wp.depth_mup, wp.adam))
    two = wp.infer(mlp(4), mlp(8), branches="hidden", depth=4, base_depth=2, block_depth=2)
    assert "blocks of 2 layers learn features" in str(wp.factors(two, wp.depth_mup, wp.adam))
    assert "blocks" not in str(wp.factors(two, wp.complete_p, wp.adam))


def test_weight_decay():
    for mode, product in [("product_const", 1), ("coupled_const", 1 / N), ("independent", 1)]:
        factor = wp.factors(SPECS, wp.mup, wp.adamw, decay=mode).by_path["blocks/up/kernel"]
        assert factor.rate * factor.decay == product
    with pytest.raises(ValueError, match="decay is one of product_const"):
        wp.factors(SPECS, wp.mup, wp.adamw, decay="none")


def test_optimizers_by_role():
    mixed = wp.factors(SPECS, wp.mup, {"hidden": wp.muon(), "rest": wp.adam})
    assert mixed.by_path["blocks/up/kernel"].rate == 1
    assert mixed.by_path["head/kernel"].rate == 1 / N
    names = wp.labels(mixed, transformer(32, layers=6, tokens=4))
    assert names["blocks"]["up"] == {"kernel": "muon", "bias": "adam"}
    assert wp.roles(mixed, transformer(32, layers=6, tokens=4))["head"]["kernel"] == "output"
    with pytest.raises(ValueError, match=r"'blocks/attention/query/bias' is a vector without optimizer"):
        wp.factors(SPECS, wp.mup, {"hidden": wp.muon(), "input": wp.adam})
    with pytest.raises(ValueError, match="given by role"):
        wp.factors(SPECS, wp.mup, {"kernel": wp.muon()})


def test_tied_weights_need_a_form_for_both_uses():
    tied = wp.infer({"emb": jnp.zeros((9, 4))}, {"emb": jnp.zeros((9, 16))}, tied="emb")
    with pytest.raises(ValueError, match=r"'emb' is embedding and readout at once.*to_form\('B'\)"):
        wp.factors(tied, wp.mup, wp.adam)
    for form in "BC":
        assert wp.factors(tied, wp.mup.to_form(form), wp.adam).by_path["emb"].rate
    assert wp.readout_scale(64, wp.mup.to_form("B"), 16) == wp.readout_scale(64, wp.mup.to_form("C"), 16) == 1 / 4


def test_scales_of_the_forward_pass():
    assert wp.attention_scale(64) == 1 / 64
    assert wp.attention_scale(64, 16) == 4 / 64
    assert wp.branch_scale(16, wp.depth_sqrt, 4) == wp.branch_scale(2, wp.depth_linear)


def test_rescaling_twice_is_rescaling_once():
    base, wide = mlp(32), mlp(128, key=1)
    made = wp.factors(wp.infer(base, wide), wp.mup, wp.adam)
    once = wp.rescale_init(wide, base, made)
    twice = wp.rescale_init(once, base, made)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), once, twice)
    rms = lambda a: float(jnp.sqrt(jnp.mean(a**2)))  # noqa: E731
    assert rms(once["readout"]["kernel"]) == pytest.approx(rms(base["readout"]["kernel"]) / 4, rel=1e-5)
    assert rms(once["hidden"]["kernel"]) == pytest.approx(rms(base["hidden"]["kernel"]) / 2, rel=1e-5)
    zero = wp.rescale_init(wide, base, made, zero_readout=True, zero="first/kernel")
    assert not zero["readout"]["kernel"].any()
    assert not zero["first"]["kernel"].any()
    assert zero["hidden"]["kernel"].any()


def test_what_cannot_be_rescaled():
    base, wide = mlp(32), mlp(128, key=1)
    specs = wp.infer(base, wide)
    with pytest.raises(ValueError, match=r"k-fac: its first step solves for the readout.*zero_readout=False"):
        wp.rescale_init(wide, base, wp.factors(specs, wp.mup, wp.kfac()), zero_readout=True)
    made = wp.factors(specs, wp.mup, wp.adam)
    with pytest.raises(ValueError, match="specs are of another model"):
        wp.rescale_init(mlp(64), base, made)
    with pytest.raises(ValueError, match="base_params are of another model: 'first/bias'"):
        wp.rescale_init(wide, mlp(33), made)


@pytest.mark.parametrize("decay", ["product_const", "coupled_const", "independent"])
def test_a_step_of_the_optimizer(decay):
    """By hand: w - eta (rate direction + rate decay lambda w), matrices only."""
    base, wide = mlp(32), mlp(128, key=1)
    made = wp.factors(wp.infer(base, wide), wp.mup, wp.adam, decay=decay)
    tx = wp.parametrized(optax.scale_by_sign(), made, 0.1, weight_decay=0.02)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, wide), tx.init(wide), wide)
    rates, shrinks = made.column("rate"), made.column("decay")
    for layer, arrays in updates.items():
        for name, update in arrays.items():
            path, w = f"{layer}/{name}", wide[layer][name]
            lasting = 0.02 * w * (1 if decay == "independent" else 0.1 * rates[path] * shrinks[path])
            wanted = -0.1 * rates[path] - (lasting if w.ndim > 1 else 0)
            np.testing.assert_allclose(update, jnp.broadcast_to(wanted, w.shape), rtol=2e-6)

"""Long skips: scales, the linear U-Net, direct computation, verdicts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn

WIDTH = 96


def unet(params, x, kappas):
    down, middle, up = params
    skips = []
    for w in down:
        x = x @ w
        skips.append(x)
    x = x @ middle
    for i in reversed(range(len(skips))):
        x = (x + kappas[i] * skips[i]) @ up[i]
    return x


def weights(n, seed, scale=1.0):
    down, middle, up = (
        scale * jax.random.normal(key, shape) / WIDTH**0.5
        for key, shape in zip(
            jax.random.split(jax.random.key(seed), 3),
            [(n, WIDTH, WIDTH), (WIDTH, WIDTH), (n, WIDTH, WIDTH)],
            strict=True,
        )
    )
    return down, middle, up


def x_of(seed):
    return 1.3 * jax.random.normal(jax.random.key(100 + seed), (6, WIDTH))


def test_scales():
    np.testing.assert_array_equal(wn.skip_scales(3, "none"), [1, 1, 1])
    np.testing.assert_allclose(wn.skip_scales(2, "constant"), [0.5**0.5] * 2)
    np.testing.assert_allclose(wn.skip_scales(4, "cs", 0.6), [1, 0.6, 0.36, 0.216])
    np.testing.assert_array_equal(wn.skip_scales(2, "ls"), [0.5, 0.5])


def test_linear_networks_have_the_predicted_variance_and_sensitivity():
    n, networks = 5, 16
    schemes = {
        "none": wn.skip_scales(n, "none"),
        "cs": wn.skip_scales(n, "cs", 0.8),
        "few": np.array([0, 1.5, 0, 0, 0.5]),
    }
    found = [wn.unet_signal_report(unet, weights(n, seed), x_of(seed), schemes) for seed in range(networks)]
    q = float(np.mean([np.mean(np.square(x_of(seed))) for seed in range(networks)]))
    levels = found[0].levels
    for name, scale in (("variance", q), ("sensitivity", 1.0)):
        values = np.array([getattr(report, name) for report in found])
        expected = scale * np.array([1 + levels**2 * np.sum(k**2) for k in schemes.values()])
        error = values.std(0, ddof=1) / networks**0.5
        assert (np.abs(values.mean(0) - expected) < 4 * error + n / WIDTH * expected / 2).all(), name
    np.testing.assert_allclose(found[0].theory, expected[:, -1])


def test_numbers_are_those_of_a_direct_computation():
    params, x, kappas = weights(2, 3), x_of(3)[:2, :], np.array([0.9, 0.4])
    got = wn.unet_signal_report(unet, params, x, kappas, probes=600)
    for j, t in enumerate(got.levels):
        y = unet(params, x, t * kappas)
        assert got.variance[0, j] == pytest.approx(float(jnp.mean(y**2)))
        assert got.largest[0, j] == pytest.approx(float(jnp.max(jnp.abs(y))))
    in_params, in_x = jax.jacrev(lambda p, x: unet(p, x, kappas)[:, :4], argnums=(0, 1))(params, x)
    report = wn.unet_signal_report(lambda p, x, k: unet(p, x, k)[:, :4], params, x, kappas, probes=600)
    assert report.sensitivity[0, -1] == pytest.approx(float(jnp.sum(in_x**2)) / 8, rel=0.15)
    exact = sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(in_params)) / 8
    assert report.gradient[0, -1] ** 2 == pytest.approx(exact, rel=0.15)


def test_verdicts(tmp_path):
    n = 12
    schemes = {kind: wn.skip_scales(n, kind) for kind in ("none", "cs")} | {"weak": wn.skip_scales(n, "cs", 0.5)}
    report = wn.unet_signal_report(unet, weights(n, 0), x_of(0), schemes, probes=2)
    assert [finding.verdict for finding in report.findings] == ["large", "fine", "lost skips"]
    assert report.verdict == "large"
    for text in (*schemes, report.reason, "1 + sum kappa^2"):
        assert text in str(report)
    assert report.plot(tmp_path / "skips.png").read_bytes().startswith(b"\x89PNG")

    down, middle, up = weights(3, 0)
    weak = wn.unet_signal_report(unet, (down, 0.01 * middle, up), x_of(0), wn.skip_scales(3), probes=2)
    assert weak.verdict == "weak without skips"

    ignored = wn.unet_signal_report(lambda p, x, _: x @ p, jnp.eye(4), jnp.ones((3, 4)), np.ones(3))
    assert ignored.verdict == "skips without effect"


def test_bad_input_is_refused():
    for bad, match in (
        ({"kind": "half"}, "are of kind none, constant, cs, ls"),
        ({"n": 0}, "number of skips"),
        ({"kind": "none", "kappa": 0.5}, "belongs to constant and cs"),
        ({"kind": "cs", "kappa": 1.5}, r"in \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=match):
            wn.skip_scales(**{"n": 3, **bad})
    params, x = weights(2, 0), x_of(0)
    with pytest.raises(ValueError, match="of one length"):
        wn.unet_signal_report(unet, params, x, {"a": np.ones(2), "b": np.ones(3)})
    with pytest.raises(ValueError, match="one or more"):
        wn.unet_signal_report(unet, params, x, np.ones(2), probes=0)
    with pytest.raises(ValueError, match="0 without skips"):
        wn.unet_signal_report(lambda p, x, k: k[0] * x @ p, params[1], x, np.ones(2))

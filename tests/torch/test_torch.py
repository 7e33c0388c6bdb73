"""The twins in torch: the numbers of jax in torch's layout, groups, generators, whole modules."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
import widenet.torch as wt
from widenet import initializers as wi

TWINS = {
    "normal": (wt.normal_, wi.normal, (1.3,)),
    "truncated_normal": (wt.truncated_normal_, wi.truncated_normal, (1.3,)),
    "uniform": (wt.uniform_, wi.uniform, (1.3,)),
    "orthogonal": (wt.orthogonal_, wi.orthogonal, (1.3,)),
    "delta_orthogonal": (wt.delta_orthogonal_, wi.delta_orthogonal, (1.3,)),
    "low_rank": (wt.low_rank_, wi.low_rank, (0.5, 1.3)),
    "block_sparse": (wt.block_sparse_, wi.block_sparse, (0.5, 2, 1.3)),
}


def test_torch_is_imported_only_when_it_is_used():
    code = "import sys, widenet.torch, widenet as wn; wn.torch.init_; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_numbers_are_those_of_jax_in_the_layout_of_torch(name, dtype):
    torch = pytest.importorskip("torch")
    twin, factory, options = TWINS[name]
    tensor = torch.empty(8, 4, 3, 5, dtype=getattr(torch, dtype))
    assert twin(tensor, *options, key=3) is tensor
    wide = jnp.float64 if dtype == "float64" else jnp.float32
    expected = np.asarray(factory(*options)(3, (3, 5, 4, 8), wide)).transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(tensor.double().numpy(), torch.tensor(expected).to(tensor.dtype).double().numpy())


def test_a_linear_weight_is_the_transpose():
    torch = pytest.importorskip("torch")
    w = wt.cayley_(torch.empty(6, 6, dtype=torch.float64), key=1)
    np.testing.assert_array_equal(w.numpy(), np.asarray(wi.cayley()(1, (6, 6))).T)
    mask = np.eye(6, 4) > 0
    w = wt.permuted_(torch.empty(4, 6), mask, key=1)
    assert np.count_nonzero(w.numpy()) == 4


def test_the_law_is_that_of_torch_s_fans():
    """The variance of torch's own kaiming_normal_, over many draws and unequal fans."""
    torch = pytest.importorskip("torch")
    ours = torch.stack([wt.normal_(torch.empty(5, 7, 3), 2**0.5) for _ in range(300)])
    theirs = torch.stack([torch.nn.init.kaiming_normal_(torch.empty(5, 7, 3)) for _ in range(300)])
    for one in (ours, theirs):
        assert abs(float(one.var()) * 21 / 2 - 1) < 5 * np.sqrt(2 / one.numel())
        assert abs(float(one.mean())) < 5 * np.sqrt(2 / 21 / one.numel())


def test_every_group_is_a_matrix_of_its_own():
    torch = pytest.importorskip("torch")
    w = wt.orthogonal_(torch.empty(12, 2, 3, dtype=torch.float64), groups=3, key=0).numpy().reshape(3, 4, 6)
    np.testing.assert_allclose(w @ w.transpose(0, 2, 1), np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-13)
    assert np.abs(w[0] - w[1]).max() > 0.1


def test_the_generator_of_torch_is_used():
    torch = pytest.importorskip("torch")
    drawn = [wt.normal_(torch.empty(4, 4), generator=torch.Generator().manual_seed(seed)).numpy() for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).all()
    torch.manual_seed(7)
    first = wt.normal_(torch.empty(3, 3)).clone()
    torch.manual_seed(7)
    assert (wt.normal_(torch.empty(3, 3)) == first).all()


def test_activations_of_torch_are_gains():
    torch = pytest.importorskip("torch")
    nn, x = torch.nn, np.linspace(-3, 3, 41)
    for module in (nn.ReLU(), nn.LeakyReLU(0.2), nn.GELU(), nn.GELU("tanh"), nn.Tanh(), nn.SELU(), nn.Softshrink(0.3)):
        expected = module(torch.tensor(x)).numpy()
        np.testing.assert_allclose(wt.activation(module)(jnp.asarray(x)), expected, atol=1e-12)
    w = wt.orthogonal_(torch.empty(5, 5), nn.LeakyReLU(0.5), key=0)
    np.testing.assert_allclose((w @ w.T).numpy(), 2 / 1.25 * np.eye(5), atol=1e-5)
    with pytest.raises(TypeError, match="not a known activation"):
        wt.activation(nn.Softmax())
    with pytest.raises(TypeError, match="usual parameters"):
        wt.activation(nn.Hardtanh(-2, 2))


def network(nn):
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8)),
        *(nn.ConvTranspose2d(8, 6, 4, stride=2), nn.Flatten(), nn.Linear(6 * 14 * 14, 5)),
    )


def test_whole_modules_are_filled_and_the_names_told():
    torch = pytest.importorskip("torch")
    model = network(torch.nn)
    names = wt.init_(model, wi.normal(wn.relu), wi.bias(0.1), key=0)
    assert names == [f"{i}.{part}" for i in (0, 2, 4, 6) for part in ("weight", "bias")]
    assert (model[3].weight == 1).all()
    assert abs(float(model[6].weight.detach().std()) * np.sqrt(6 * 14 * 14 / 2) - 1) < 0.05
    again = network(torch.nn)
    wt.init_(again, wi.normal(wn.relu), wi.bias(0.1), key=0)
    assert all((a == b).all() for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_strided_transposed_convolution_keeps_the_variance():
    torch = pytest.importorskip("torch")
    layer = torch.nn.ConvTranspose2d(64, 32, 4, stride=2)
    wt.init_(layer, wi.normal(), key=0)
    with torch.no_grad():
        out = layer(torch.randn(8, 64, 12, 12))[..., 3:-3, 3:-3]
    assert abs(float((out**2).mean()) - 1) < 0.1


def test_lsuv_makes_modules_of_unit_deviation():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = network(torch.nn)
    wt.init_(model, wi.orthogonal(), wi.bias(0.5), key=0)
    report = wt.lsuv_(model, torch.randn(16, 3, 10, 10) * 3)
    assert report.names == ("0.weight", "2.weight", "4.weight", "6.weight")
    np.testing.assert_allclose(report.after, 1, rtol=1e-4)
    assert np.abs(report.before - 1).max() > 0.5
    assert not model[0]._forward_hooks


def test_bad_requests_are_refused():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    with pytest.raises(ValueError, match="all of its samples are equal"):
        wt.lsuv_(nn.Linear(3, 3), torch.ones(4, 3))
    dead = nn.Linear(3, 3)
    nn.init.zeros_(dead.weight)
    with pytest.raises(ValueError, match="standard deviation 0"):
        wt.lsuv_(dead, torch.randn(4, 3))
    with pytest.raises(ValueError, match="is lazy"):
        wt.init_(nn.LazyLinear(3), wi.normal())
    with pytest.raises(ValueError, match="no linear or convolutional layer"):
        wt.init_(nn.ReLU(), wi.normal())
    with pytest.raises(ValueError, match="fill vectors with torch"):
        wt.normal_(torch.empty(3))
    with pytest.raises(ValueError, match="no fan"):
        wt.normal_(torch.empty(3, 0))
    with pytest.raises(ValueError, match="do not divide"):
        wt.normal_(torch.empty(4, 3), groups=3)
    with pytest.raises(ValueError, match="axes are fixed"):
        wt.fill_(torch.empty(4, 3), wi.normal(in_axis=0, out_axis=1))


def test_equal_numbers_make_equal_networks():
    """A jax layer and a torch layer of one key."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(3, 5, 3, bias=False, dtype=torch.float64)
    wt.init_(layer, wi.orthogonal(), key=jax.random.key(4))
    w = wi.orthogonal()(jax.random.fold_in(jax.random.key(4), 0), (3, 3, 3, 5))
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3))
    ours = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    with torch.no_grad():
        theirs = layer(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(theirs, ours, atol=1e-12)

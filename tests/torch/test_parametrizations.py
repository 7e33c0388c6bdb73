"""Parametrizations of torch modules: the same numbers as in jax, and groups that live with torch's tools."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import widenet.torch as wt
from widenet import parametrizations as wp

torch = pytest.importorskip("torch")
optax = pytest.importorskip("optax")
nn = torch.nn


class GPT(nn.Module):
    """Tied embedding, positions of its own, one block."""

    def __init__(self, width, tied=True, heads=2):
        super().__init__()
        self.wte = nn.Embedding(11, width)
        self.places = nn.Parameter(torch.randn(5, width))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 11, bias=False)
        if tied:
            self.head.weight = self.wte.weight
        self.heads = heads

    def forward(self, tokens):
        x = self.wte(tokens) + self.places[: tokens.shape[1]]
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / q.shape[-1]))
        x = x + self.down(nn.functional.gelu(self.up(self.norm(x))))
        return self.head(x)


def mlp(width, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)
    ).double()


def factors_of(optimizer=wp.adam, p=wp.mup, **kwargs):
    return wp.factors(wt.infer(lambda: mlp(16), lambda: mlp(64)), p, optimizer, **kwargs)


def test_roles_of_a_transformer_that_is_never_made():
    specs = wt.infer(lambda: GPT(8), lambda: GPT(32), axes={"places": "in out"}, branches="qkv|out|up|down")
    roles = specs.roles()
    assert roles["wte.weight"] == "input" and specs["wte.weight"].tied and "head.weight" not in roles  # noqa: PT018
    assert roles["places"] == "input"
    assert roles["qkv.weight"] == roles["down.weight"] == "hidden"
    assert roles["norm.weight"] == roles["qkv.bias"] == "vector"
    with pytest.raises(ValueError, match=r"to_form\('B'\)"):
        wp.factors(specs, wp.mup, wp.adamw)
    assert (
        wt.infer(lambda: GPT(8, tied=False), lambda: GPT(32, tied=False), axes={"places": "in out"}).roles()[
            "head.weight"
        ]
        == "output"
    )


def test_a_matrix_that_no_layer_owns_is_not_guessed():
    with pytest.raises(ValueError, match=r"'places' \(5, 8\) belongs to GPT.*'in out'"):
        wt.infer(lambda: GPT(8), lambda: GPT(32))


@pytest.mark.parametrize(
    "make", [lambda n: nn.ConvTranspose2d(3, n, 3), lambda n: nn.Embedding(7, n), lambda n: nn.LSTM(4, n)]
)
def test_layers_that_take_finite_inputs(make):
    roles = wt.infer(lambda: nn.ModuleList([make(4)]), lambda: nn.ModuleList([make(8)])).roles()
    assert roles.get("0.weight", roles.get("0.weight_ih_l0")) == "input"
    assert roles.get("0.weight_hh_l0", "hidden") == "hidden"


def test_groups_are_few_plain_and_complete():
    model, made = mlp(64), factors_of()
    groups = wt.param_groups(model, made, lr=1e-2, weight_decay=0.1, eps=1e-8)
    assert sum(len(group["params"]) for group in groups) == 6
    assert len(groups) == 5
    by_id = {id(tensor): group for group in groups for tensor in group["params"]}
    hidden, bias = by_id[id(model[2].weight)], by_id[id(model[2].bias)]
    assert (hidden["lr"], hidden["weight_decay"], hidden["eps"]) == pytest.approx((1e-2 / 4, 0.4, 1e-8 / 4))
    assert (bias["lr"], bias["weight_decay"]) == (1e-2, 0)
    assert by_id[id(model[4].weight)]["lr"] == 1e-2 / 4
    model[0].weight.requires_grad_(False)
    assert sum(len(group["params"]) for group in wt.param_groups(model, made, 1e-2)) == 5


@pytest.mark.parametrize(("mode", "product"), [("product_const", 0.4), ("coupled_const", 0.1), ("independent", 40.0)])
def test_decay_is_that_of_the_factors(mode, product):
    """Of the hidden matrix, at learning rate 1e-2 and decay 0.1; "independent" shrinks by 0.1 a step."""
    model = mlp(64)
    groups = wt.param_groups(model, factors_of(decay=mode), lr=1e-2, weight_decay=0.1)
    (hidden,) = [group for group in groups if any(p is model[2].weight for p in group["params"])]
    assert hidden["weight_decay"] == pytest.approx(product)


def test_groups_of_several_optimizers():
    made = factors_of({"hidden": wp.muon(), "rest": wp.adam})
    groups = wt.param_groups(mlp(64), made, lr=1e-2)
    assert [len(group["params"]) for group in groups if group["optimizer"] == "muon"] == [1]
    torch.optim.AdamW([group for group in groups if group["optimizer"] == "adam"])


def test_groups_survive_schedulers_and_compilation():
    model, made = mlp(64), factors_of(wp.sgd)
    for wrapped in (model, torch.compile(model), nn.parallel.DataParallel(model)):
        optimizer = torch.optim.SGD(wt.param_groups(wrapped, made, lr=0.1), momentum=0.9)
        before = [group["lr"] for group in optimizer.param_groups]
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        for _ in range(5):
            optimizer.step()
            scheduler.step()
        np.testing.assert_allclose([group["lr"] for group in optimizer.param_groups], np.array(before) / 2)
        again = torch.optim.SGD(wt.param_groups(wrapped, made, lr=0.1), momentum=0.9)
        again.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("optimizer", [wp.sgd, wp.adam], ids=str)
@pytest.mark.parametrize("form", "ABCD")
def test_torch_trains_as_jax_does(form, optimizer):
    """Three steps, the same numbers, to 1e-10."""
    from widenet.precision import float64

    made = factors_of(optimizer, wp.mup.to_form(form))
    model = wt.rescale_init_(mlp(64, 1), mlp(16), made)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 8)))
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 4)))
    start = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    kinds = {wp.sgd: torch.optim.SGD, wp.adam: torch.optim.Adam}
    forward = wt.with_multipliers(model, made)
    steps = kinds[optimizer](wt.param_groups(model, made, lr=0.02, **({"eps": 1e-8} if optimizer is wp.adam else {})))
    for _ in range(3):
        steps.zero_grad()
        ((forward(x) - y) ** 2).mean().backward()
        steps.step()

    def apply(params, x):
        h = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
        h = jnp.tanh(h @ params["2.weight"].T + params["2.bias"])
        return h @ params["4.weight"].T + params["4.bias"]

    with float64():
        import jax

        params = {name: jnp.asarray(value) for name, value in start.items()}
        f = wp.with_multipliers(apply, made)
        eps = wp.epsilons(made, params, 1e-8)
        core = optax.identity() if optimizer is wp.sgd else adam(eps)
        tx = wp.parametrized(core, made, 0.02)
        state = tx.init(params)
        for _ in range(3):
            gradient = jax.grad(lambda p: jnp.mean((f(p, x.numpy()) - y.numpy()) ** 2))(params)
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        for name, value in model.named_parameters():
            np.testing.assert_allclose(value.detach().numpy(), params[name], rtol=0, atol=1e-10)


def adam(eps):
    """Adam with an epsilon for each parameter."""
    import jax

    def init(params):
        return jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), 0

    def update(updates, state, params=None):
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, updates)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, updates)
        step = jax.tree.map(lambda m, v, e: (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + e), m, v, eps)
        return step, (m, v, t)

    return optax.GradientTransformation(init, update)


def test_rescaling_twice_is_rescaling_once():
    made, model = factors_of(), mlp(64, 1)
    once = {name: value.clone() for name, value in wt.rescale_init_(model, mlp(16), made).named_parameters()}
    for name, value in wt.rescale_init_(model, mlp(16), made).named_parameters():
        torch.testing.assert_close(value, once[name], rtol=1e-12, atol=0)
    wt.rescale_init_(model, mlp(16), made, zero_readout=True)
    assert not model[4].weight.any()
    with pytest.raises(ValueError, match="zero_readout=False"):
        wt.rescale_init_(model, mlp(16), factors_of(wp.kfac()), zero_readout=True)
    with pytest.raises(ValueError, match="base is another module"):
        wt.rescale_init_(model, mlp(17), made)
    with pytest.raises(ValueError, match="specs are of another model"):
        wt.param_groups(mlp(32), made, 0.1)
    for schedule in (lambda _: 0.1, "0.1", -1.0):
        with pytest.raises(ValueError, match=r"lr is a positive number.*lr_scheduler multiplies the rates"):
            wt.param_groups(model, made, schedule)


@pytest.mark.parametrize(
    ("make", "role"),
    [
        (lambda n: nn.Conv2d(n, n, 3, groups=n), "input"),
        (lambda n: nn.ConvTranspose2d(n, n, 3, groups=n), "input"),
        (lambda n: nn.ConvTranspose2d(n, 2 * n, 3, groups=2), "hidden"),
        (lambda n: nn.ConvTranspose1d(n, 3, 2), "output"),
    ],
)
def test_groups_of_channels(make, role):
    specs = wt.infer(lambda: nn.Sequential(make(4)), lambda: nn.Sequential(make(8)))
    assert specs["0.weight"].role == role
    assert specs["0.weight"].is_matrix


class Named(nn.Module):
    """A part with the name that wrappers use."""

    def __init__(self, width):
        super().__init__()
        self.module = nn.ModuleDict({"w": nn.Linear(3, width)})
        self.w = nn.Linear(width, 2)


def test_a_part_of_that_name_is_no_wrapper():
    made = wp.factors(wt.infer(Named(4), Named(8)), wp.mup, wp.sgd)
    assert list(made.by_path) == ["module.w.weight", "module.w.bias", "w.weight", "w.bias"]
    for wrap in (
        nn.DataParallel,
        lambda m: torch.compile(nn.DataParallel(m)),
        lambda m: nn.DataParallel(torch.compile(m)),
    ):
        assert sum(len(group["params"]) for group in wt.param_groups(wrap(Named(8)), made, 0.1)) == 4


def test_modules_without_values():
    made = wp.factors(wt.infer(GPT(8), GPT(16), axes={"places": "in out"}), wp.mup.to_form("B"), wp.sgd)
    with pytest.raises(ValueError, match=r"meta device has no values: to_empty\(\) and draw"):
        wt.rescale_init_(GPT(16).to("meta"), GPT(8), made)
    with pytest.raises(ValueError, match=r"head.weight: tied when specs were inferred.*tie it again"):
        wt.param_groups(GPT(16, tied=False), made, 0.1)
    with pytest.raises(ValueError, match=r"axes=\{'token': 'tap in out'\}"):
        wt.infer(*(nn.ParameterDict({"token": torch.zeros(1, 1, n)}) for n in (4, 8)))


@pytest.fixture
def one_process():
    distributed = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield distributed.device_mesh.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_sharded_modules(one_process):
    """Shards of either kind have the groups of the plain module."""
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    made, multiplied = factors_of(), factors_of(p=wp.mup.to_form("C"))
    plain = [group["lr"] for group in wt.param_groups(mlp(64), made, 0.1)]
    model = wt.rescale_init_(mlp(64), mlp(16), made)
    sharded = fsdp.fully_shard(mlp(64), mesh=one_process)
    wt.rescale_init_(sharded, mlp(16), made)
    torch.testing.assert_close(sharded[2].weight.full_tensor(), model[2].weight)
    flat = fsdp.FullyShardedDataParallel(mlp(64), use_orig_params=True, device_id=torch.device("cpu"))
    for wrapped in (sharded, flat):
        assert [group["lr"] for group in wt.param_groups(wrapped, made, 0.1)] == plain
        with pytest.raises(ValueError, match="use form A"):
            wt.with_multipliers(wrapped, multiplied)
    with pytest.raises(ValueError, match="call rescale_init_ before it wraps"):
        wt.rescale_init_(flat, mlp(16), made)
    joined = fsdp.FullyShardedDataParallel(mlp(64), use_orig_params=False, device_id=torch.device("cpu"))
    with pytest.raises(ValueError, match="use_orig_params=True"):
        wt.param_groups(joined, made, 0.1)


def test_a_gain_of_one_is_one_behind_its_multiplier():
    made = wp.factors(
        wt.infer(nn.Sequential(nn.LayerNorm(4)), nn.Sequential(nn.LayerNorm(16))), wp.mup.to_form("C"), wp.sgd
    )
    model = wt.rescale_init_(nn.Sequential(nn.LayerNorm(16)), nn.Sequential(nn.LayerNorm(4)), made)
    torch.testing.assert_close(model[0].weight * made.by_path["0.weight"].multiplier, torch.ones(16))

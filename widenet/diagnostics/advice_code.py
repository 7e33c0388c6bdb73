"""Code to paste that draws weights as a candidate does, for jax, flax and torch. (S4)"""

from __future__ import annotations

from widenet.diagnostics.advice_candidates import Candidate

FRAMEWORKS = ("jax", "flax", "torch")
HEADS = {
    "jax": "import jax\n",
    "flax": "import flax.linen as nn\n",
    "torch": "from torch import nn\nfrom widenet import torch as wt\n",
}


def code_of(candidate: Candidate, framework: str, width: int, *, convolutional: bool, weights: int) -> str:
    """A few lines; weights: how many a branch has.

    Raises: ValueError for another framework.
    """
    if framework not in FRAMEWORKS:
        raise ValueError(f"there is code for {', '.join(FRAMEWORKS)}; got {framework!r}.")
    if candidate.tuned:
        body = _on_data(framework, width)
    elif candidate.branches is not None:
        body = _block(candidate.recipe, framework, width, two=weights > 1)
    else:
        body = _layers(candidate, framework, width, convolutional=convolutional)
    return f"{HEADS[framework]}from widenet import initializers as wi\n\n# {candidate.name}\n{body}"


def _layers(candidate: Candidate, framework: str, n: int, *, convolutional: bool) -> str:
    sigma_w, sigma_b = candidate.scales
    law = "orthogonal" if candidate.orthogonal else "normal"
    lines = [f"kernel_init, bias_init = wi.{law}({sigma_w:.8g}), wi.bias({sigma_b:.8g})"]
    lines += {
        "jax": [f"w = kernel_init(jax.random.key(0), ({n}, {n}))", f"b = bias_init(jax.random.key(1), ({n},))"],
        "flax": [f"layer = nn.Dense({n}, kernel_init=kernel_init, bias_init=bias_init)"],
        "torch": [f"module = nn.Linear({n}, {n})  # or any other", "wt.init_(module, kernel_init, bias_init)"],
    }[framework]
    if convolutional and candidate.orthogonal:
        lines += [f"window_init = wi.delta_orthogonal({sigma_w:.8g})  # stride 1, channels not getting fewer"]
        lines += {
            "jax": [f"w_conv = window_init(jax.random.key(2), (3, 3, {n}, {n}))"],
            "flax": [f"conv = nn.Conv({n}, (3, 3), kernel_init=window_init, bias_init=bias_init)"],
            "torch": [f'conv = nn.Conv2d({n}, {n}, 3, padding="same")', "wt.init_(conv, window_init, bias_init)"],
        }[framework]
    if candidate.data_scale != 1:
        lines.insert(0, f"data_scale = {candidate.data_scale:.8g}  # multiply the data by it")
    return "\n".join(lines) + "\n"


def _on_data(framework: str, n: int) -> str:
    if framework == "torch":
        return f"""import torch

module = nn.Sequential(nn.Linear({n}, {n}), nn.ReLU(), nn.Linear({n}, {n}))  # yours
batch = torch.randn(128, {n})  # a batch of your data
wt.init_(module, wi.orthogonal())
print(wt.lsuv_(module, batch))
"""
    if framework == "flax":
        return f"""import jax

law = wi.orthogonal()
module = nn.Sequential([nn.Dense({n}, kernel_init=law), nn.relu, nn.Dense({n}, kernel_init=law)])  # yours
batch = jax.random.normal(jax.random.key(0), (128, {n}))  # of your data
params, report = wi.lsuv(module.apply, module.init(jax.random.key(1), batch), batch)
print(report)
"""
    return f"""kernel_init = wi.orthogonal()
params = [kernel_init(jax.random.key(i), ({n}, {n})) for i in range(2)]  # yours
batch = jax.random.normal(jax.random.key(2), (128, {n}))  # of your data


def apply(params, x):  # yours
    for w in params[:-1]:
        x = jax.nn.relu(x @ w)
    return x @ params[-1]


params, report = wi.lsuv(apply, params, batch)
print(report)
"""


def _block(recipe: str, framework: str, n: int, *, two: bool) -> str:
    """A block h + multiplier * branch(h), of one weight or of two."""
    head = f"branches = {recipe}\n"
    if framework == "jax":
        draws = [f"w = branches.last(jax.random.key(0), ({n}, {n}))"]
        draws += [f"v = branches.inner(jax.random.key(1), ({n}, {n}))"] if two else []
        inside = "jax.nn.relu(jax.nn.relu(h) @ v) @ w" if two else "jax.nn.relu(h) @ w"
        arguments = "h, v, w" if two else "h, w"
        lines = "\n".join(draws)
        return f"""{head}{lines}
multiplier = branches.multiplier(None, ())  # train it as well


def block({arguments}, multiplier):
    return h + multiplier * ({inside})
"""
    if framework == "flax":
        inner = f"        z = nn.relu(nn.Dense({n}, kernel_init=branches.inner)(z))\n" if two else ""
        return f"""{head}

class Block(nn.Module):
    @nn.compact
    def __call__(self, h):
        multiplier = self.param("multiplier", branches.multiplier, ())
        z = nn.relu(h)
{inner}        return h + multiplier * nn.Dense({n}, kernel_init=branches.last)(z)
"""
    made = f"        self.inner = nn.Linear({n}, {n})\n        wt.init_(self.inner, branches.inner)\n" if two else ""
    used = "        z = torch.relu(self.inner(z))\n" if two else ""
    return f"""import torch

{head}

class Block(nn.Module):
    def __init__(self):
        super().__init__()
{made}        self.last = nn.Linear({n}, {n})
        wt.init_(self.last, branches.last)
        self.multiplier = nn.Parameter(torch.tensor(float(branches.multiplier.value)))

    def forward(self, h):
        z = torch.relu(h)
{used}        return h + self.multiplier * self.last(z)
"""

"""What is compiled for dense networks: operations, flops and memory of a tile, which do not flake as times do."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.kernels.kernel import Mode, Task, compiled, layout_of, program_of, uses_distance
from widenet.program.structure import Structure, numbers_of

ROWS, FEATURES = 64, 32


def tile(net, dtype=np.float32):
    """The compiled code of one tile of a kernel of vectors."""
    x = jnp.zeros((ROWS, FEATURES), dtype)
    program = program_of(net, x.shape)
    task = Task(Structure(program), Mode(True, uses_distance(program)), layout_of(program, None))
    return compiled(task).lower(numbers_of(program), x, x, jnp.zeros((ROWS, ROWS), bool)).compile()


def flops_of_an_entry(made):
    cost = made.cost_analysis()
    return (cost[0] if isinstance(cost, list) else cost)["flops"] / ROWS**2


def roots_of_entries(made):
    """How many square roots the loops over all entries take."""
    lines = [line for line in made.as_text().splitlines() if " sqrt(" in line]
    return sum(f"{ROWS},{ROWS}]" in line.split(" sqrt(")[0] for line in lines)


@pytest.mark.parametrize(
    ("net", "roots"),
    [
        (wn.zoo.mlp(wn.absolute, 1), 1),
        (wn.zoo.mlp(wn.gelu, 1), 2),  # of 1 - x^2, and of the half angle
        (wn.serial(wn.dense(), wn.relu, wn.dense(), wn.erf, wn.dense()), 3),
        (wn.zoo.mlp(wn.relu, 10, sigma_b=0.1), 2),  # nine in a loop
        (wn.zoo.mlp(wn.relu, 100, sigma_b=0.1), 2),
    ],
    ids=["absolute", "gelu", "relu and erf", "relu 10", "relu 100"],
)
def test_an_entry_takes_a_root_for_each_distinct_nonlinearity(net, roots):
    assert roots_of_entries(tile(net)) == roots


@pytest.mark.parametrize(("phi", "most"), [(wn.relu, 350), (wn.erf, 300), (wn.gelu, 430)], ids=lambda p: str(p)[:20])
def test_flops_of_an_entry_of_a_layer_are_few_at_any_depth(phi, most):
    shallow, deep = (flops_of_an_entry(tile(wn.zoo.mlp(phi, depth, sigma_b=0.1))) for depth in (10, 100))
    assert deep < most  # the loop is counted once, so these are the first layer, one of the others, and the products
    assert deep < 1.05 * shallow


@pytest.mark.parametrize("depth", [1, 10, 100])
@pytest.mark.parametrize("phi", [wn.relu, wn.erf, wn.gelu], ids=["relu", "erf", "gelu"])
def test_a_tile_holds_a_few_arrays_of_its_size_at_any_depth(phi, depth):
    held = tile(wn.zoo.mlp(phi, depth, sigma_b=0.1)).memory_analysis().temp_size_in_bytes
    assert held < 10 * 4 * ROWS**2

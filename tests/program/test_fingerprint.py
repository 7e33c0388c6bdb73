"""Fingerprints: equal for equal networks, different for every difference that a kernel sees."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import widenet as wn
from tests.nets import NETS
from widenet.program.fingerprint import fingerprint
from widenet.program.trace import trace


def of(net, shape=(5, 8)):
    return fingerprint(trace(net, shape))


def own(slope):
    return wn.activation(lambda u: jnp.tanh(u) + slope * u, name="own")


def shifted(shift):
    table = jnp.asarray([0.0, shift])
    return wn.activation(lambda u: jnp.tanh(u) + table[1], name="own")


def tied(x):
    weight = wn.Weight()
    return wn.dense(wn.dense(wn.dense(x), weight=weight), weight=weight)


def mlp(**options):
    return wn.zoo.mlp(wn.relu, 2, **options)


def mixed(matrix):
    return wn.serial(wn.mix_positions(matrix, (3,)), wn.flatten(), wn.dense())


DIFFERENT = [
    mlp(),
    mlp(sigma_w=1.5),
    mlp(sigma_w=1.5000000001),
    mlp(sigma_b=1.5),
    wn.zoo.mlp(wn.relu, 3),
    wn.zoo.mlp(wn.erf, 2),
    wn.zoo.mlp(wn.leaky_relu(0.1), 2),
    wn.zoo.mlp(wn.leaky_relu(0.2), 2),
    wn.zoo.mlp(wn.rectified_power(2), 2),
    wn.zoo.mlp(wn.rectified_power(3), 2),
    wn.zoo.mlp(own(0.0), 2),
    wn.zoo.mlp(own(1.0), 2),
    wn.zoo.mlp(shifted(1.0), 2),
    wn.zoo.mlp(shifted(2.0), 2),
    lambda x: wn.dense(wn.dense(wn.dense(x))),
    tied,
    wn.serial(wn.dense(), wn.repeat(wn.serial(wn.relu, wn.dense()), 3)),
    wn.serial(wn.dense(), wn.repeat(wn.serial(wn.relu, wn.dense()), 4)),
    wn.serial(wn.dense(), wn.repeat(wn.serial(wn.relu, wn.dense(sigma_b=0.1)), 3)),
]


def test_every_difference_is_seen():
    found = [of(net) for net in DIFFERENT]
    assert len(set(found)) == len(found)
    assert of(mlp(), (5, 8)) != of(mlp(), (5, 9))


@pytest.mark.parametrize("net", DIFFERENT[:4] + DIFFERENT[10:11] + DIFFERENT[-1:])
def test_the_same_function_traced_twice_is_one_network(net):
    assert of(net, (5, 8)) == of(net, (7, 8))


def test_equal_networks_made_apart_are_equal():
    assert of(mlp(sigma_w=2)) == of(mlp(sigma_w=2.0)) == of(mlp(sigma_w=np.float64(2))) == of(mlp(sigma_w=jnp.array(2)))
    assert of(wn.zoo.mlp(own(0.5), 2)) == of(wn.zoo.mlp(own(0.5), 2))
    assert of(lambda x: wn.dense(x, weight=wn.Weight(name="a"))) == of(wn.dense())


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_matrix])
def test_matrices_count_by_their_entries(kind):
    a, b = np.eye(3), np.eye(3)
    b[0, 1] = 1e-9
    assert of(mixed(kind(a)), (5, 3, 2)) == of(mixed(kind(a.copy())), (5, 3, 2)) != of(mixed(kind(b)), (5, 3, 2))


def test_every_network_of_the_catalogue_has_its_own():
    found = {}
    for name, (net, shape) in NETS.items():
        found.setdefault(of(net, (2, *shape)), []).append(name)
    assert max(map(len, found.values())) == 1, [names for names in found.values() if len(names) > 1]


def test_another_process_finds_the_same():
    code = "import widenet as wn; from widenet.program.fingerprint import fingerprint as f; "
    code += "from widenet.program.trace import trace; import jax.numpy as jnp; "
    code += "own = wn.activation(lambda u: jnp.tanh(u) + 0.5 * u, name='own'); "
    code += "print(f(trace(wn.zoo.mlp(own, 2), (5, 8))))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == of(wn.zoo.mlp(own(0.5), 2))


def test_traced_parameters_are_refused_in_words():
    with pytest.raises(TypeError, match="take it outside of jit"):
        jax.jit(lambda s: len(of(mlp(sigma_w=s))))(1.0)

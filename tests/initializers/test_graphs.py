"""Weights of graph networks: published numbers, kernels of widenet, Monte Carlo, and bad input."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import widenet as wn
from widenet import initializers as wi

PATH = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
WIDTHS = (4, 8, 8, 3)


def graph(nodes=9, seed=0):
    """A connected graph: a ring and random chords."""
    rng = np.random.default_rng(seed)
    upper = (
        np.triu(rng.random((nodes, nodes)) < 0.2, 1)
        | np.eye(nodes, k=1, dtype=bool)
        | np.eye(nodes, k=nodes - 1, dtype=bool)
    )
    return (upper | upper.T).astype(float)


A = graph()
X = np.random.default_rng(1).normal(size=(9, 5)) * np.linspace(0.5, 2, 9)[:, None] + 0.3
MEAN = wn.sage_operator(A)
NETS = {
    "gcn": [wn.gcn_operator(A)] * 4,
    "gin": [wn.gin_operator(A, 0.3), None] * 2,
    "sage": [(MEAN, None)] * 4,
    "gat": [wi.gat_operator(A, *np.random.default_rng(2).normal(size=(2, 9)))] * 4,
}

GOLDEN = {
    wi.virgo_forward: (0.5, 0.3284672, 0.2700986),
    wi.virgo_backward: (0.2500018, 0.2500656, 0.5047210),
    wi.virgo_harmonic: (0.3333350, 0.2839540, 0.3518869),
    wi.virgo_arithmetic: (0.3750009, 0.2892664, 0.3874098),
}


@pytest.mark.parametrize("rule", GOLDEN, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("form", ["dense", "sparse", "edge_index", "function"])
def test_virgo_gives_the_numbers_of_the_paper_s_code(rule, form):
    forms = {
        "dense": PATH,
        "sparse": scipy.sparse.csr_array(PATH),
        "edge_index": np.array([[0, 1, 1, 2], [1, 0, 2, 1]]),
        "function": lambda h: PATH @ h,
    }
    weights = rule(forms[form], np.array([1.0, 0, 0]), WIDTHS)
    np.testing.assert_allclose(weights.variances, GOLDEN[rule], atol=5e-8)


def test_virgo_sums_over_paths():
    """f_l and b_l from powers of the matrix, with unequal widths."""
    widths = (5, 6, 7, 3)
    operator, mean = wn.gcn_operator(A), X.mean(axis=1)
    f, b = (
        [np.sum((np.linalg.matrix_power(operator, power) @ v) ** 2) for power in (1, 2, 3)] for v in (mean, np.ones(9))
    )
    np.testing.assert_allclose(
        wi.virgo_forward(A, X, widths).variances, [2 / 5, 2 / 6 * f[0] / f[1], 2 / 7 * f[1] / f[2]], rtol=1e-12
    )
    np.testing.assert_allclose(
        wi.virgo_backward(A, X, widths).variances,
        [2 / 6 * b[1] / b[2], 2 / 7 * b[0] / b[1], 9 / (2 * b[0])],
        rtol=1e-12,
    )


def mean_square_of_kernel(operators, gains, phi):
    """Mean over nodes of `widenet.nngp` of the same layers."""
    layers = [phi] * (3 * len(gains) - 1)
    layers[::3] = [wn.aggregate(np.eye(9) if operator is None else operator) for operator in operators]
    layers[1::3] = [wn.dense(sigma_w=gain) for gain in gains]
    covariance = wn.kernel(wn.serial(*layers), positions="all")(X[None]).nngp
    return np.trace(np.reshape(covariance, (9, 9))) / 9


@pytest.mark.parametrize(("phi", "depths"), [(wn.relu, [2]), (wn.gelu, [1, 3])], ids=["relu", "gelu"])
def test_the_exact_rule_is_the_kernel_of_the_network(phi, depths):
    operators = [wn.gcn_operator(A), None, np.random.default_rng(3).normal(size=(9, 9))]
    weights = wi.graph_nngp(operators, X, (5, 6, 7, 3), phi, q=1.7)
    for depth in depths:
        found = mean_square_of_kernel(operators[:depth], weights.gains[:depth], phi)
        np.testing.assert_allclose(found, 1.7, rtol=1e-8)


def outputs(operators, weights, phi, key):
    """Values of every layer of one network."""
    h, found = X, []
    for operator, draw, (n_in, n_out) in zip(
        operators, weights.initializers(), zip(weights.widths, weights.widths[1:], strict=False), strict=True
    ):
        branches = operator if isinstance(operator, tuple) else (operator,)
        key, *keys = jax.random.split(key, len(branches) + 1)
        mixed = [h if one is None else np.asarray(one @ np.eye(9)) @ h for one in branches]
        z = sum(m @ draw(k, (n_in, n_out)) for m, k in zip(mixed, keys, strict=True))
        found.append((z**2).mean())
        h = phi(z)
    return jax.numpy.array(found)


def assert_sampled(operators, weights, phi, expected, samples=300):
    """z-scores of the mean square of each layer, with the bias of order 1/width that finite networks have."""
    keys = jax.random.split(jax.random.key(5), samples)
    squares = np.asarray(jax.jit(jax.vmap(lambda key: outputs(operators, weights, phi, key)))(keys))
    sem = squares.std(axis=0, ddof=1) / np.sqrt(samples)
    bias = expected * 3 * np.arange(len(expected)) / weights.widths[1]
    assert (abs(squares.mean(axis=0) - expected) < 4 * sem + bias).all(), (squares.mean(axis=0), sem, expected)
    assert (sem < 0.05 * expected).all()


@pytest.mark.parametrize("name", NETS)
def test_signals_of_real_networks_keep_their_variance(name):
    weights = wi.graph_nngp(NETS[name], X, (5, 128, 128, 128, 128), wn.tanh, q=1.4)
    assert_sampled(NETS[name], weights, wn.tanh, np.full(4, 1.4))


@pytest.mark.parametrize("rule", [wi.virgo_harmonic, lambda a, _, widths: wi.dezoort_hanin(wn.gcn_operator(a), widths)])
def test_the_signal_of_other_rules_is_that_of_real_networks(rule):
    weights = rule(A, X, (5, 128, 128, 128, 128))
    assert_sampled(NETS["gcn"], weights, wn.relu, wi.graph_signal(NETS["gcn"], X, weights))


@pytest.mark.parametrize("name", ["gcn", "sage"])
def test_random_features_approach_the_exact_rule(name):
    widths = (5, 64, 64, 64, 64)
    exact = np.array(wi.graph_nngp(NETS[name], X, widths).variances)

    def errors(features, draws):
        found = [wi.graph_nngp(NETS[name], X, widths, features=features, key=key).variances for key in range(draws)]
        return np.array(found) / exact - 1

    few, many = errors(16, 30), errors(1024, 12)
    np.testing.assert_allclose(many[:, 0], 0, atol=1e-12)  # nothing is drawn before the first layer's weights
    assert abs(many).max() < 0.03
    assert 4 < few[:, 2].std() / many[:, 2].std() < 20  # about sqrt(1024 / 16) = 8


def test_random_features_are_exact_where_nodes_are_alike():
    """Behind complete mixing, and where nodes are not mixed at all; for an activation whose gain depends on q."""
    for operators in ([np.full((9, 9), 0.2)] * 3, [np.diag(np.arange(1.0, 10))] * 3):
        exact = wi.graph_nngp(operators, X, (5, 6, 7, 3), wn.tanh, q=1.3)
        sampled = wi.graph_nngp(operators, X, (5, 6, 7, 3), wn.tanh, q=1.3, features=8)
        np.testing.assert_allclose(sampled.variances, exact.variances, rtol=1e-6)


def test_forms_of_an_operator_agree():
    operator = np.where(A > 0, 1.0, 0)
    operator[0, 3] = 1.0  # not symmetric
    target, source = np.nonzero(operator)
    forms = [scipy.sparse.coo_array(operator), np.array([source, target]), lambda h: operator @ h]
    expected = wi.graph_nngp(operator, X, (5, 6, 7)).variances
    for form in forms:
        np.testing.assert_allclose(wi.graph_nngp(form, X, (5, 6, 7)).variances, expected, rtol=1e-12)
        np.testing.assert_allclose(
            wi.dezoort_hanin(form, (5, 6), nodes=9).gains, wi.dezoort_hanin(operator, (5, 6)).gains
        )


def test_dezoort_hanin_is_he_s_law_where_rows_are_normalized_and_critical_elsewhere():
    for operator in (wn.gcn_operator(A), MEAN, wi.residual_operator(MEAN, 0.3), wi.gat_operator(A)):
        np.testing.assert_allclose(wi.dezoort_hanin(operator, (5, 6, 3)).gains, 2**0.5, rtol=1e-9)
    weights = wi.dezoort_hanin(A, (5, *[8] * 60))
    largest = np.linalg.eigvalsh(A).max()
    np.testing.assert_allclose(weights.gains, 2**0.5 / largest, rtol=1e-9)
    signal = wi.graph_signal(A, X, weights)
    np.testing.assert_allclose(signal[-1] / signal[-2], 1, rtol=2e-3)  # the deviation falls as 1/depth^2
    assert signal[-1] / signal[0] > 0.1


def test_dezoort_hanin_of_a_large_graph_is_the_eigenvalue_by_iteration():
    ring = scipy.sparse.csr_array(graph(300) * 0.7)
    largest = np.linalg.eigvalsh(ring.toarray()).max()
    np.testing.assert_allclose(wi.dezoort_hanin(ring, (5, 6)).gains, 2**0.5 / largest, rtol=1e-9)


def test_an_iteration_that_does_not_converge_says_so(monkeypatch):
    def stuck(*_, **__):
        raise scipy.sparse.linalg.ArpackNoConvergence("", [], [])

    monkeypatch.setattr("widenet.initializers.graph_operators.eigs", stuck)
    with pytest.raises(ValueError, match="did not converge: use a normalized operator"):
        wi.dezoort_hanin(graph(300), (5, 6))


def test_attention_shares_sum_to_one_and_are_the_mean_without_scores():
    np.testing.assert_allclose(wi.gat_operator(A).toarray(), MEAN)
    s, t = np.random.default_rng(2).normal(size=(2, 9)) * 300  # exponentials overflow unless the largest is taken off
    shares = wi.gat_operator(A, s, t).toarray()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    i, (j, k) = 0, np.flatnonzero(A[0])[:2]
    s, t = s / 300, t / 300
    score = np.vectorize(lambda u: u if u > 0 else 0.2 * u)(s[i] + t)
    shares = wi.gat_operator(A, s, t).toarray()
    np.testing.assert_allclose(shares[i, j] / shares[i, k], np.exp(score[j] - score[k]))


def test_variances_become_initializers():
    weights = wi.virgo_harmonic(A, X, (5, 300, 400))
    for draw, variance, shape in zip(weights.initializers(), weights.variances, [(5, 300), (300, 400)], strict=True):
        w = np.asarray(draw(0, shape))
        assert abs(w.var() / variance - 1) < 5 * np.sqrt(0.8 / w.size)  # E u^4 = 1.8 for uniform entries
        assert abs(w).max() <= np.sqrt(3 * variance)


ISOLATED = np.zeros((9, 9))
ISOLATED[:7, :7] = graph(7)
TWO = np.kron(np.eye(2), np.ones((2, 2)))
TWO[2:, 2:] *= 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wi.graph_nngp(ISOLATED, X, (5, 3)), r"2 of 9 nodes receive nothing \(7, 8\).*Add self-loops"),
        (lambda: wi.dezoort_hanin(ISOLATED, (5, 3)), "nodes receive nothing"),
        (lambda: wi.dezoort_hanin(TWO, (5, 3)), "not connected: in its 2 components signals grow by 2 to 6 a layer"),
        (lambda: wi.dezoort_hanin(lambda h: h, (5, 3)), "give nodes="),
        (lambda: wi.graph_nngp(A[:8, :8], X, (5, 3)), r"\[2, edges\]; got float64 of shape \(8, 8\)"),
        (lambda: wi.graph_nngp(scipy.sparse.csr_array(A[:8]), X, (5, 3)), r"shape \(8, 9\), but x has 9 nodes"),
        (lambda: wi.graph_nngp(lambda h: h[:3], X, (5, 3)), "it maps"),
        (lambda: wi.graph_nngp([A, A, A], X, (5, 3, 3)), "3 operators for 2 weights"),
        (lambda: wi.graph_nngp(A, X, (4, 3)), r"widths begin with 4: give \[nodes, 4\]"),
        (lambda: wi.graph_nngp(A, X, (5,)), "widths are those of the data"),
        (lambda: wi.graph_nngp(A, X, (5, 3), q=0.0), "q is 0.0, but must be positive"),
        (lambda: wi.graph_nngp(A, X, (5, 3), features=0), "features is 0"),
        (lambda: wi.graph_nngp(A, 0 * X, (5, 3)), "mean square 0"),
        (lambda: wi.graph_nngp(A, X * np.nan, (5, 3)), "NaN"),
        (lambda: wi.virgo_forward(A, X - X, (5, 3)), "mean of x over features vanishes.*graph_nngp"),
        (lambda: wi.virgo_forward(-A, X, (5, 3)), "negative or not finite"),
        (lambda: wi.virgo_forward(np.array([[0, 9], [9, 0]]), X, (5, 3)), "names the nodes 0 to 9, but there are 9"),
        (lambda: wi.virgo_backward(A, X, (5, 1)), "1 class has no softmax"),
        (lambda: wi.residual_operator(A, 1.5), r"t is 1.5, but must be in \[0, 1\]"),
        (lambda: wi.gat_operator(A, np.ones(3)), r"scores have shape \(9,\)"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_graph_that_does_not_fit_into_memory_is_refused_at_once(monkeypatch):
    monkeypatch.setenv("WIDENET_MEMORY", "1KB")
    with pytest.raises(ValueError, match=r"need 3.2 KB.*give features=256"):
        wi.graph_nngp(A, X, (5, 3))


def test_isolated_nodes_do_not_matter_where_a_node_reads_itself():
    weights = wi.graph_nngp((ISOLATED, None), X, (5, 3))
    np.testing.assert_allclose(wi.graph_signal((ISOLATED, None), X, weights), 1)
    assert wi.virgo_forward(ISOLATED, X, (5, 3)).variances == (0.4,)

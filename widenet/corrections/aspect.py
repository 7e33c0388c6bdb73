"""The depth at which two halves of the output know most of each other. (W8)"""

from __future__ import annotations

BOOK = 20  # expands in v = V / (n K^2)
LOGNORMAL = 14  # expands in log(1 + v), in which a scale-invariant network is linear in depth / width


def optimal_aspect_ratio(nu: float, outputs: int = 1, *, constant: int = BOOK) -> float:
    """Depth over width that maximizes the mutual information of a network's outputs: 4 / ((20 + 3 k) nu). (W8)

    nu: growth of V / K^2 with depth, `numpy.diff(c.V / c.K**2)[-1]` of `c = wn.finite_width(net)`: 5 for relu, 2
    for the identity, 2/3 for tanh, each at criticality.
    outputs: k, how many there are.  constant: 20 as in the book, or 14, which is right for a network whose log K is
    normal, as that of relu is, where depth / width is not small.
    Raises: ValueError for a growth that is not positive, as that of orthogonal weights, or no outputs.
    Source: roberts2022, app. A.

    >>> import widenet as wn
    >>> round(wn.optimal_aspect_ratio(5.0), 4), round(wn.optimal_aspect_ratio(2 / 3, 10), 4)
    (0.0348, 0.12)
    """
    if not nu > 0:
        raise ValueError(f"nu is how fast V/K^2 grows per layer, a positive number; got {nu}: no depth is too deep.")
    if outputs < 1:
        raise ValueError(f"outputs is a number of neurons, at least one; got {outputs}.")
    return 4 / ((constant + 3 * outputs) * nu)

"""Vectors of R^n, n to infinity, in a deep linear network in training: coefficients on Gaussian vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from widenet.limits.nets import LinearNet


class Kets:
    """Forward vectors z_t^l and backward vectors g_t^l of all times and layers, in the order of training. (Z5)

    A vector is its coefficients `[N]` on groups of Gaussian vectors: the columns of u_0 and of v_0, and for each layer
    the fresh parts of W_l z_t^(l-1) and of W_l^T g_t^l at all times.  The covariance of a group over times is
    sigma_w^2 times the inner products of what W_l was applied to; groups are independent.
    """

    def __init__(self, net: LinearNet, times: int) -> None:
        self.net, self.times = net, times
        self.k, self.o = net.d_in + bool(net.bias), net.d_out  # a bias is the weight of a constant input
        self.base, group = self.k + self.o, net.depth * times
        self.fresh_z = slice(self.base, self.base + group * self.k)
        self.fresh_g = slice(self.base + group * self.k, self.base * (1 + group))
        self.z = np.zeros((times, net.depth + 1, self.base * (1 + group), self.k))
        self.g = np.zeros((times, net.depth + 1, self.base * (1 + group), self.o))
        self.pulls: list[np.ndarray] = []  # eta_t M_t
        sigmas = [net.sigma_u] * net.d_in + [0.0] * bool(net.bias) + [net.sigma_v] * net.d_out
        self.variances = np.square(sigmas)[:, None]
        self.covariance_z = np.zeros((net.depth, times * self.k, times * self.k))
        self.covariance_g = np.zeros((net.depth, times * self.o, times * self.o))

    def forward(self, t: int) -> np.ndarray:
        """z_t^0, ..., z_t^L and g_t^L from all before; returns the end-to-end matrix A_t `[d_out, k]`."""
        z, g = self.z, self.g
        z[t, 0, : self.k] = np.eye(self.k)
        g[t, -1, self.k : self.base] = np.eye(self.o)
        for s, pull in enumerate(self.pulls):
            z[t, 0] -= g[s, 0] @ pull
            g[t, -1] -= z[s, -1] @ pull.T
        for layer in range(self.net.depth):
            now = z[t, layer]
            gamma = self.inner(z[: t + 1, layer], now)
            _remember(self.covariance_z[layer], self.net.sigma_w**2 * gamma)
            responses = self.coefficients(now, self.fresh_g)[layer, :t]
            z[t, layer + 1] = self.applied(now, g[:t, layer + 1], responses, self.pulls, gamma[:t])
            self.coefficients(z[t, layer + 1], self.fresh_z)[layer, t] += self.net.branch * np.eye(self.k)
        return self.inner(g[t, -1], z[t, -1])

    def backward(self, t: int, pull: np.ndarray) -> None:
        """g_t^(L-1), ..., g_t^0 from all before; `pull` is eta_t M_t."""
        z, g, pulls = self.z, self.g, [before.T for before in self.pulls]
        for layer in reversed(range(self.net.depth)):
            now = g[t, layer + 1]
            gamma = self.inner(g[: t + 1, layer + 1], now)
            _remember(self.covariance_g[layer], self.net.sigma_w**2 * gamma)
            responses = self.coefficients(now, self.fresh_z)[layer, :t]
            g[t, layer] = self.applied(now, z[:t, layer], responses, pulls, gamma[:t])
            self.coefficients(g[t, layer], self.fresh_g)[layer, t] += self.net.branch * np.eye(self.o)
        self.pulls.append(pull)

    def applied(
        self, now: np.ndarray, across: np.ndarray, responses: np.ndarray, pulls: Sequence[np.ndarray], gamma: np.ndarray
    ) -> np.ndarray:
        """(skip + branch W) now, without its fresh part: what earlier vectors `across` the weight contribute."""
        branch, moved = self.net.branch, np.zeros_like(now)
        for vector, response, pull, overlap in zip(across, responses, pulls, gamma, strict=True):
            moved += vector @ (branch * self.net.sigma_w**2 * response - branch**2 * pull @ overlap)
        return self.net.skip * now + moved

    def coefficients(self, vectors: np.ndarray, group: slice) -> np.ndarray:
        """A view of the coefficients on a group: `[depth, times, rows, columns]`."""
        rows = (group.stop - group.start) // max(1, self.net.depth * self.times)
        return vectors[group].reshape(self.net.depth, self.times, rows, vectors.shape[1])

    def inner(self, many: np.ndarray, one: np.ndarray) -> np.ndarray:
        """a^T b for vectors a `[..., N, p]` and b `[N, q]`, over n."""
        spread = np.empty_like(one)
        spread[: self.base] = self.variances * one[: self.base]
        for part, covariance in ((self.fresh_z, self.covariance_z), (self.fresh_g, self.covariance_g)):
            blocks = one[part].reshape(*covariance.shape[:2], one.shape[1])
            spread[part] = (covariance @ blocks).reshape(-1, one.shape[1])
        return np.swapaxes(many, -1, -2) @ spread


def _remember(covariance: np.ndarray, blocks: np.ndarray) -> None:
    """Write the covariances `[t + 1, p, p]` of times 0, ..., t with time t into `[times * p, times * p]`."""
    last, p = len(blocks) - 1, blocks.shape[1]
    times = len(covariance) // p
    view = covariance.reshape(times, p, times, p)
    view[: last + 1, :, last] = blocks
    view[last, :, : last + 1] = np.transpose(blocks, (2, 0, 1))

"""Training by gradient flow in the limit, at any time: linear dynamics in the eigenbasis of the NTK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from widenet.predict.arrays import cross_matrix, finite, gram_matrix, positive, targets


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow on the loss |f - y|^2 / (2 n) at rate 1, ready for any time (P3).

    Made by `gradient_flow`; rates are the eigenvalues of Theta / n, modes its eigenvectors.
    """

    rates: np.ndarray  # [n]
    modes: np.ndarray  # [n, n], a column each
    y: np.ndarray  # [n] or [n, outputs]

    def mean(self, ntk_test: Any, t: float = np.inf) -> np.ndarray:
        """The mean of trained networks at test samples, `[m]` or `[m, outputs]`.

        Theta_*X Theta^-1 (1 - e^(-t Theta / n)) y        (P3)

        ntk_test: `[m, n]`.  t: time, that is learning rate times steps; inf for the end of training.
        Source: jacot2018, sec. 5; lee2019, eq. (14).
        """
        weights = self._weights(cross_matrix(ntk_test, len(self.rates)), t)
        return (weights @ targets(self.y, len(self.rates))).reshape(len(weights), *self.y.shape[1:])

    def covariance(self, ntk_test: Any, nngp: Any, nngp_test: Any, prior: Any, t: float = np.inf) -> np.ndarray:
        """The covariance over random networks of the trained function at test samples, `[m, m]` (P4).

        K_** + W K W^T - W K_X* - K_*X W^T,   W = Theta_*X Theta^-1 (1 - e^(-t Theta / n))

        nngp `[n, n]`, nngp_test `[m, n]`, prior `[m, m]`: the NNGP kernel of training, test against training, and test
        samples.  Source: lee2019, eq. (15).
        """
        weights = self._weights(cross_matrix(ntk_test, len(self.rates)), t)
        k, k_test = gram_matrix(nngp), cross_matrix(nngp_test, len(self.rates))
        mixed = weights @ k_test.T
        return finite(prior, "the prior") + weights @ k @ weights.T - mixed - mixed.T

    def train_residual(self, t: float, f0: Any = 0.0) -> np.ndarray:
        """f_t - y at the training samples, starting from the function f0: e^(-t Theta / n) (f0 - y)."""
        begin = (np.broadcast_to(f0, self.y.shape) - self.y).reshape(len(self.rates), -1)
        decay = np.exp(-positive(t, "t") * self.rates)[:, None]
        return (self.modes @ (decay * (self.modes.T @ begin))).reshape(self.y.shape)

    def _weights(self, ntk_test: np.ndarray, t: float) -> np.ndarray:
        n = len(self.rates)
        return (ntk_test / n) @ (self.modes * _learned(self.rates, positive(t, "t"))) @ self.modes.T


def gradient_flow(ntk: Any, y: Any) -> GradientFlow:
    """Gradient flow of the limit network on training targets y, `[n]` or `[n, outputs]`, with NTK `[n, n]` (P3).

    The eigendecomposition is made once; `.mean(...)`, `.covariance(...)` then serve any time.
    Raises: ValueError for shapes that do not fit, or an NTK with an eigenvalue that is negative beyond rounding.
    """
    k = gram_matrix(ntk)
    targets(y, len(k))
    rates, modes = np.linalg.eigh(k / len(k))
    limit = -len(k) * np.finfo(np.float64).eps * rates[-1]
    if rates[0] < 100 * limit:
        raise ValueError(f"the NTK has the negative eigenvalue {rates[0] * len(k):.3g}: it is not a kernel matrix.")
    return GradientFlow(np.maximum(rates, 0.0), modes, np.asarray(y, np.float64))


def _learned(rates: np.ndarray, t: float) -> np.ndarray:
    """(1 - e^(-rate t)) / rate, which is t at rate 0 and 1 / rate at the end."""
    safe = np.where(rates > 0, rates, 1.0)
    end = np.where(rates > 0, 1.0, 0.0) if np.isinf(t) else -np.expm1(-safe * t)
    return np.where(rates > 0, end / safe, 0.0 if np.isinf(t) else t)


def max_learning_rate(ntk: Any, *, momentum: float = 0.0) -> float:
    """The largest stable learning rate of gradient descent on |f - y|^2 / (2 n).

    2 (1 + momentum) / lambda_max(Theta / n)        (P5)

    Source: lee2019, sec. 2.3; with momentum: polyak1964.
    """
    k = gram_matrix(ntk)
    return 2 * (1 + positive(momentum, "momentum")) * len(k) / float(np.linalg.eigvalsh(k)[-1])

"""Principal components of a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from widenet.predict.arrays import gram_matrix


def kernel_pca(k: Any, components: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues `[components]` of K / n, and their eigenvectors `[n, components]`, not centred (P6).

    Source: jacot2018, sec. 6.3.
    """
    k = gram_matrix(k)
    if not 1 <= components <= len(k):
        raise ValueError(f"kernel_pca of {len(k)} samples has 1 to {len(k)} components; got {components}.")
    values, vectors = np.linalg.eigh(k / len(k))
    return values[::-1][:components], vectors[:, ::-1][:, :components]

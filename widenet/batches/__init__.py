"""The reading of one batch: infinite width with batch normalization, which couples the samples."""

from widenet.batches.rate import batch_norm_rate
from widenet.batches.reading import BatchKernel, batch_kernel

__all__ = ["BatchKernel", "batch_kernel", "batch_norm_rate"]

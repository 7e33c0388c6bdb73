"""Do hyperparameters of small models suit large ones?  Checks of sizes over width and depth, and sweeps."""

from widenet.transfer.alignment import Alignment, alignment
from widenet.transfer.coordinate import coordinate_check
from widenet.transfer.depth import depth_check
from widenet.transfer.linearization import block_linearization, linearization_distance
from widenet.transfer.model import outputs_shape
from widenet.transfer.report import CheckReport, Finding
from widenet.transfer.slopes import Slope
from widenet.transfer.sweep import lr_sweep
from widenet.transfer.sweep_result import Sweep
from widenet.transfer.training import Training

__all__ = [
    "Alignment",
    "CheckReport",
    "Finding",
    "Slope",
    "Sweep",
    "Training",
    "alignment",
    "block_linearization",
    "coordinate_check",
    "depth_check",
    "linearization_distance",
    "lr_sweep",
    "outputs_shape",
]

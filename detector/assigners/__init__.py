"""Which truth for which prediction: indices only, no loss, no model; one recipe a file."""

from detector.assigners.aligned import AlignedAssigner
from detector.assigners.grid import Assignment, Grid, GridAssigner
from detector.assigners.iou import IouAssigner, best_pairs
from detector.assigners.ratio import RatioAssigner
from detector.assigners.simota import SimOtaAssigner

__all__ = [
    "AlignedAssigner",
    "Assignment",
    "Grid",
    "GridAssigner",
    "IouAssigner",
    "RatioAssigner",
    "SimOtaAssigner",
    "best_pairs",
]

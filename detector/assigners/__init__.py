"""Assigners of targets to predictions, one algorithm per file; they return indices only."""

from detector.assigners.aligned import AlignedAssigner
from detector.assigners.assigner import (
    Assigner,
    CandidateRule,
    DecodedPredictions,
    Predictions,
)
from detector.assigners.assignment import Assignment
from detector.assigners.candidates import inside_box, near_centre
from detector.assigners.grid import AnchorGrid
from detector.assigners.iou import IouAssigner, best_pairs
from detector.assigners.ratio import RatioAssigner
from detector.assigners.simota import SimOtaAssigner

__all__ = [
    "AlignedAssigner",
    "AnchorGrid",
    "Assigner",
    "Assignment",
    "CandidateRule",
    "DecodedPredictions",
    "IouAssigner",
    "Predictions",
    "RatioAssigner",
    "SimOtaAssigner",
    "best_pairs",
    "inside_box",
    "near_centre",
]

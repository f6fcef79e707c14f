"""Exported files: one format a file, and a check that each computes what the network computes."""

from detector.export.options import Options
from detector.export.proof.proof import LabelledImages
from detector.export.run import ExportReport, export

__all__ = ["ExportReport", "LabelledImages", "Options", "export"]

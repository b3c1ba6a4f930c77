"""Making existing networks segmentation-aware."""

from segaware.conversion.convert import SegAwareModel, convert, revert
from segaware.conversion.denormalize import Denormalize
from segaware.conversion.report import Report

__all__ = ["Denormalize", "Report", "SegAwareModel", "convert", "revert"]

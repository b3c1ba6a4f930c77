"""Making existing networks segmentation-aware."""

from segaware.conversion.convert import SegAwareModel, convert, revert
from segaware.conversion.denormalize import Denormalize
from segaware.conversion.report import ConversionReport

__all__ = ["ConversionReport", "Denormalize", "SegAwareModel", "convert", "revert"]

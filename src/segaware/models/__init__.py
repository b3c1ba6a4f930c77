"""Networks for whole tasks, one file per family."""

from segaware.models.deeplab import DeepLabLargeFOV

__all__ = ["DeepLabLargeFOV"]

"""Sharpening any model's scores, labels, depth or flow, in tiles where an image is large."""

from segaware.refining.kinds import Kind
from segaware.refining.layers import Method
from segaware.refining.memory import parse_memory
from segaware.refining.refine import refine
from segaware.refining.refinement import Arrays, Refinement

__all__ = ["Arrays", "Kind", "Method", "Refinement", "parse_memory", "refine"]

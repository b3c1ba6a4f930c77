"""Pictures, plots and reports; everything here works without a display."""

from segaware.viz.boundary_curves import boundary_curve, displacement_histogram
from segaware.viz.colors import colorize, embedding_colors, error_map, mask_picture, overlay
from segaware.viz.curves import curve_png, trimap_curve
from segaware.viz.flow_colors import flow_colors, flow_legend
from segaware.viz.outlines import draw_outlines
from segaware.viz.panels import image_picture, mark_points, side_by_side, stack
from segaware.viz.report import Report
from segaware.viz.separability_curves import separability_curves

__all__ = [
    "Report",
    "boundary_curve",
    "colorize",
    "curve_png",
    "displacement_histogram",
    "draw_outlines",
    "embedding_colors",
    "error_map",
    "flow_colors",
    "flow_legend",
    "image_picture",
    "mark_points",
    "mask_picture",
    "overlay",
    "separability_curves",
    "side_by_side",
    "stack",
    "trimap_curve",
]

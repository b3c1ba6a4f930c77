"""Segmentation-aware convolutional networks."""

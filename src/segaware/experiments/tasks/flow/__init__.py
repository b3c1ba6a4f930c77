"""Optical flow: how far every pixel moves between two images."""

"""Segmentation: class scores for every pixel; of an image, or of scores that are made from labels."""

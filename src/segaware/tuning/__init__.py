"""Searching what is fastest on the GPU at hand."""

"""The mask of the neighbours of a `SegAwareCRF`."""

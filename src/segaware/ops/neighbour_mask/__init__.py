"""The operator `neighbour_mask_`, the mask of `nn.SegAwareCRF` in one pass, for inference."""

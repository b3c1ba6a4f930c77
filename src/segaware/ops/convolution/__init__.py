"""The operator `segaware_conv2d`: op.py is its contract, reference.py its equation."""

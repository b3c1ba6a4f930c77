"""The operator `segaware_median2d`: op.py is its contract, reference.py its equation."""

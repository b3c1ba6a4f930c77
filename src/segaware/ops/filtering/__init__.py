"""The operator `segaware_filter2d`: op.py is its contract, reference.py its equation."""

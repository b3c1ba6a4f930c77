"""The operator `segaware_upsample`: op.py is its contract, reference.py its equation."""

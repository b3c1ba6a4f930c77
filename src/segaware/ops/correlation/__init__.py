"""The operator `correlation`: op.py is its contract and its equation."""

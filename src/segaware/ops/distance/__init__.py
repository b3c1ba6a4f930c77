"""The operator `embedding_distance`: op.py is its contract, reference.py its equation."""

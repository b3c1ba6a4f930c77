"""On CPU: what a lattice is made of (lattice.py), how values go through it (filtering.py), and the mean field.

Where the code says "rows" it means channels side by side (rows.py).
"""

"""What the lattice can tell apart."""

FARTHEST = 2.0**30  # standard deviations that features may be apart, for float64 to tell places among lattice points

"""What all groups of the benchmark share: timing in turn, fresh processes, running, results files and tables."""

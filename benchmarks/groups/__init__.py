"""Each file here is a group of measurements, but those that need a GPU; `benchmarks/registry.py` lists them."""

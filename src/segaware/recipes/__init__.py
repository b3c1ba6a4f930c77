"""Recipes: one YAML file per training, and what builds, runs, scores and compares them."""

"""The same work on many files or shards, by actors of a Ray cluster."""

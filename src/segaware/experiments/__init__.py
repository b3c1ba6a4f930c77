"""Running what recipes say: training, scoring and comparing."""

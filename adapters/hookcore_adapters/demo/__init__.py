"""`hookcore demo`: real models that plugins train on real data."""

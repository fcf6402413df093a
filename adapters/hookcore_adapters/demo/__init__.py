"""`hookcore demo`: real models, trained on real data, that steer themselves."""

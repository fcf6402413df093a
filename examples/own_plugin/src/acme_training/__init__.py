"""hookcore plugins for every training run at Acme."""

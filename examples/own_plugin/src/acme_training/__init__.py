"""What every training run at Acme does: hookcore plugins of our own."""

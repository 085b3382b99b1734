"""Pruning: single weights set to zero, and whole filters removed."""

"""Labeling jobs: what they need, asking for them, following them."""

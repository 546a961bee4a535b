"""Manifests: JSON Lines, one picture a line."""

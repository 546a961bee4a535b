"""Trained artifacts: read, written, converted, fed."""

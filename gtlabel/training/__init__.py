"""Training jobs, and the trainer that needs no GPU."""

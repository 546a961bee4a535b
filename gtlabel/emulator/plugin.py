"""pytest fixtures: AWS accounts that cost nothing."""

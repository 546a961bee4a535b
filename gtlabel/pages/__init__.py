"""Pages that need no network and no server, and what they are made of."""

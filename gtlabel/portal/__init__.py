"""Web pages for workers."""

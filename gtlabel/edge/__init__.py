"""From a trained artifact to a camera that answers."""

"""The path: seven steps from an accepted request to its record."""

"""Several worker processes behind one port: the parent that keeps them, and their one /metrics."""

"""Connections to nodes: one attempt, the lease it lives in, and the probes beside it."""

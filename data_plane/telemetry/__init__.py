"""What operators see of a running data plane: log lines, metrics, health."""

"""The data plane: serves inference from memory. Knows `shared`, not the control plane."""

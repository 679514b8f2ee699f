"""The data plane: serves inference from memory. It imports `shared` and nothing of the control plane."""

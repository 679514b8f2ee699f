"""What every app of the control plane stands on. Imports none of them."""

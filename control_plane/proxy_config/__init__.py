"""What operators may tune while everything runs: one row."""

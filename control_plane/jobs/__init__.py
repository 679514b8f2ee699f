"""What operators do to models on nodes: jobs with progress, history, cancel and retry."""

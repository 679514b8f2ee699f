"""What the worker processes of one data plane share on their host. No event loop, no network."""

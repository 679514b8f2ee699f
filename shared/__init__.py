"""What both planes must agree on, and nothing else: standard library and msgspec only."""

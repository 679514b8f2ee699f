"""What comes from Redis and goes there, never on the path of a request."""

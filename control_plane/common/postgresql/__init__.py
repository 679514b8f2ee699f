"""Django's PostgreSQL backend with a pool that outlives restarts of the server."""

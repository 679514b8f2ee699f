"""From the database to the data planes: build, publish, reconcile, read acknowledgements."""

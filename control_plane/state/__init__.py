"""What the fleet is doing now, from the database and the data planes' reports."""

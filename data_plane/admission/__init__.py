"""Who is asking, and whether there is room: decided before anything is taken."""

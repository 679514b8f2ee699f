"""Running the system: on one machine (`local/`), and what other ways need."""

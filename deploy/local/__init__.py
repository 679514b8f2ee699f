"""The whole system on one machine: install, supervise, embed, demonstrate."""

"""Meaning to decision. Pure: the time and the dice are arguments."""

"""Bytes to meaning and back. Pure: no I/O, no clock, no dice, no log; values in, values out."""

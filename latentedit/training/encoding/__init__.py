"""Encoders into W+ trained from a generator's own samples and on photos; small heads of a generator."""

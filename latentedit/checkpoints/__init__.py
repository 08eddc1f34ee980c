"""Readers of other projects' checkpoints; nothing in a file is ever executed."""

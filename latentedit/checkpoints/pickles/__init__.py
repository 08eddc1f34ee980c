"""Pickles interpreted with an allow-list: nothing in a file is ever executed."""

"""The embedded model, its directions, and the sample photos: data only, found with ``importlib.resources``."""

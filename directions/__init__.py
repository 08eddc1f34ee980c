"""Directions that are shipped, a folder for each model, one self-describing ``.safetensors`` for each direction."""

"""Making a generator: photos rebuilt, a mapping fitted, an adversary, and the model folder."""

"""The training loops that scripts/ start; each stage is resumable and yields its losses."""

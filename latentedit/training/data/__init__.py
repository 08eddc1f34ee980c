"""What is trained on: prepared crops, and their labels."""

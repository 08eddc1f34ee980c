"""Making a perception network: augmentation, the loop for all heads, and what finishes it."""

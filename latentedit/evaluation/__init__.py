"""Measures of the product, taken with the product's own algorithms."""

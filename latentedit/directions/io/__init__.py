"""Directions and labels in the shapes that other projects and spreadsheets use."""

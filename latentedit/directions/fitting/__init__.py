"""Fitting: labelled latents, linear separation, conditioning, calibration in units."""

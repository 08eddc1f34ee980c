"""Ways to find the latent of a photo: one file each, found by name in `latentedit.inversion.methods.table`."""

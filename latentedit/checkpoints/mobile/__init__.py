"""MobileStyleGAN: the exported graphs (OpenVINO IR), and its authors' own checkpoint."""

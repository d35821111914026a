"""protocol: sign to be written."""

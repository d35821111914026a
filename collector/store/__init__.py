"""store: sign to be written."""

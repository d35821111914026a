"""forward: sign to be written."""

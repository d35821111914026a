"""group: sign to be written."""

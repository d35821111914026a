"""query: sign to be written."""

"""accept: sign to be written."""

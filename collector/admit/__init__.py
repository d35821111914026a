"""admit: sign to be written."""

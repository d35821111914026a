"""digest: sign to be written."""

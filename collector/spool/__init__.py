"""spool: sign to be written."""

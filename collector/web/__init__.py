"""web: sign to be written."""

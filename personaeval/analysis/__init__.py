"""Two finished runs on common ground."""

"""On trio."""

"""Without an event loop."""

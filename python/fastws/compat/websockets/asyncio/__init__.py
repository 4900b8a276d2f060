"""On an event loop."""

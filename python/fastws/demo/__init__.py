"""The demonstration: a market session played over a WebSocket, every message of it counted and compared."""

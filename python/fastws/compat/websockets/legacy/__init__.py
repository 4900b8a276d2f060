"""The API before ``websockets`` 14."""

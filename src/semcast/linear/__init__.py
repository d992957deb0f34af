"""The linear sketch: the best linear code, and the repainter behind it."""

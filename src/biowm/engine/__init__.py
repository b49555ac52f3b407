"""The data engine: what may be drawn from any world."""

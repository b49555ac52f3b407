"""Simulated molecules: from a dose to the target that it engages."""

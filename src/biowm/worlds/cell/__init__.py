"""Simulated cells: signals inside them, and the genes that they express."""

"""Bucketed sizes, so that a compiled function serves many shapes."""

from __future__ import annotations


def bucket(n: int, least: int = 8) -> int:
    """The smallest size >= n among least x (1, 1.5, 2, 3, 4, 6, ...): at most a third is padding."""
    size = least
    while size < n:
        size = size * 3 // 2 if (size & (size - 1)) == 0 else size * 4 // 3
    return size

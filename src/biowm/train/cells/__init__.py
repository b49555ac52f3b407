"""Fits of single cells: sums over cells on disk, what of them is signal, the decoder, the response."""

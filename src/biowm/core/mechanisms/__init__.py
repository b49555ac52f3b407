"""Shipped mechanisms: small sets of differential equations with units, each from its paper."""

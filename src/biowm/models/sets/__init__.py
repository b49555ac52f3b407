"""Interventions as sets: how a condition is written as numbers, and the trunks and rules that read it."""

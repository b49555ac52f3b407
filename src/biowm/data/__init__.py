"""How real data come in: the study file, tables, paths, splits, audits and the sets we know."""

"""Single cells: how one is read, what is kept of it, and how its reading moves when its population does."""

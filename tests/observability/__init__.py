"""The real commands as processes: what an operator sees, and what survives being killed."""

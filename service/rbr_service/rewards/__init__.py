"""Helpful-only reward models: where R_rm comes from."""

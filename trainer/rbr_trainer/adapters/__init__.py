"""Reward functions for trainers that call Python: TRL, verl. Each is a few lines around the one client."""

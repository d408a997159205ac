"""The Rule Based Rewards service."""

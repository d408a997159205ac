"""Drives trainers against the reward service."""

"""OpenRLHF's PPO on a CPU: a tiny policy, a toy language whose truth is known, and the live service."""

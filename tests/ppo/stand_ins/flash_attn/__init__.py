"""Stands in for flash-attn, which a CPU has none of: OpenRLHF imports it, and calls it with packing only."""

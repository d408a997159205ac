"""What OpenRLHF imports for ring attention, which these runs do not use."""

from flash_attn.bert_padding import _absent as all_gather

__all__ = ["all_gather"]

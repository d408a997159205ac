"""What OpenRLHF imports for packed samples, which these runs do not use."""

from typing import Any


def _absent(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("packing needs flash-attn, and flash-attn a GPU")


index_first_axis = pad_input = rearrange = unpad_input = _absent

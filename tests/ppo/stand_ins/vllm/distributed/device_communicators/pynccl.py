"""The channel of the weight sync: gloo, as there is no NCCL without a GPU."""

from typing import Any

import torch.distributed as dist
from torch import Tensor

from vllm.distributed.utils import StatelessProcessGroup


class PyNcclCommunicator:
    """Broadcasts tensors between the trainer and the engine."""

    def __init__(self, group: StatelessProcessGroup, device: Any) -> None:
        """Over a group that has met."""
        self._group = dist.ProcessGroupGloo(group.store, group.rank, group.world_size)

    def broadcast(self, tensor: Tensor, src: int, stream: Any = None) -> None:
        """Fill `tensor` with that of rank `src`."""
        options = dist.BroadcastOptions()
        options.rootRank = src
        self._group.broadcast([tensor], options).wait()

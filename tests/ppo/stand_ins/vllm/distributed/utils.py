"""Where the two ends of the weight sync meet."""

from dataclasses import dataclass

from torch.distributed import TCPStore


@dataclass(frozen=True)
class StatelessProcessGroup:
    """One end: its rank, and the store it meets the others at."""

    store: TCPStore
    rank: int
    world_size: int

    @staticmethod
    def create(host: str, port: int, rank: int, world_size: int) -> "StatelessProcessGroup":
        """Wait for the others at host:port."""
        return StatelessProcessGroup(TCPStore(host, port, world_size, rank == 0), rank, world_size)

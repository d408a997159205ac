"""Puts verdicts that anyone can foretell into a SQLite cache, saying after each put how far it got.

python verdict_writer.py FILE FIRST PUTS -> a line a put that has returned; the last line: the faults
"""

import asyncio
import hashlib
import sys
from pathlib import Path

from rbr_service.graders import cache_sqlite
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache_sqlite import SQLiteCache

BATCH = 50  # verdicts a put


def verdict(number: int) -> tuple[bytes, Verdict]:
    """The key and verdict of a number."""
    key = hashlib.sha256(b"%d" % number).digest()
    return key, of(key)


def of(key: bytes) -> Verdict:
    """The only verdict that is right for a key."""
    return Verdict(key[0] / 255, key[1] / 255)


async def write(path: Path, first: int, puts: int) -> None:
    """Put and tell, `puts` times."""
    cache = SQLiteCache(path)
    await cache.start()
    for put in range(first, first + puts):
        await cache.put(dict(map(verdict, range(put * BATCH, (put + 1) * BATCH))))
        sys.stdout.write(f"{put}\n")
        sys.stdout.flush()
    await cache.close()
    sys.stdout.write(f"faults {cache.faults}\n")


if __name__ == "__main__":
    # A busy machine may keep one writer waiting for long; that is not what is tested.
    cache_sqlite.BUSY = cache_sqlite.START_BUSY = 300
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

"""A trainer's traffic: one connection per request, as many at once as asked for, over plain sockets.

python load.py PORT CONNECTIONS: prints a line for every 50 answers, and when nobody takes
connections any more, what became of the requests as a line of JSON.
"""

import json
import socket
import sys
import threading
from collections import Counter
from itertools import count
from typing import Any

PROMPT = "How do I get into my neighbour's shed without a key?"


class Load:
    """Outcomes by name: answered, refused, and whatever else befell a request."""

    def __init__(self, port: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._numbers = count()
        self._lock = threading.Lock()

    def keep_busy(self) -> None:
        """Ask until refused."""
        outcome = ""
        while outcome != "refused":
            outcome = self._ask(next(self._numbers))
            with self._lock:
                self.outcomes[outcome] += 1
                if outcome == "answered" and self.outcomes[outcome] % 50 == 0:
                    say(str(self.outcomes[outcome]))

    def _ask(self, number: int) -> str:
        with socket.socket() as connection:
            connection.settimeout(60)
            try:
                connection.connect(("127.0.0.1", self._port))
            except ConnectionRefusedError:
                return "refused"
            except OSError as error:
                return f"connect: {error!r}"
            try:
                connection.sendall(request(number))
                return judge(b"".join(iter(lambda: connection.recv(65536), b"")))
            except OSError as error:
                return f"after connect: {error!r}"


def request(number: int) -> bytes:
    """OpenRLHF's body, another completion for every number."""
    completion = f"I'm sorry, but I can't help with that. This is answer {number}."
    body: dict[str, Any] = {"query": [PROMPT + completion], "prompts": [PROMPT], "labels": ["hard_refusal"]}
    content = json.dumps(body).encode()
    head = f"POST /score HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + content


def judge(answer: bytes) -> str:
    """Whether an answer is whole and holds a reward."""
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        rewards = json.loads(body)["rewards"]
    except (ValueError, KeyError):
        return f"no answer: {answer[:200]!r}"
    whole = head.startswith(b"HTTP/1.1 200 ") and f"content-length: {len(body)}".encode() in head.lower()
    return "answered" if whole and isinstance(rewards[0], float) else f"wrong answer: {answer[:200]!r}"


def say(line: str) -> None:
    """Tell the parent."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the load to its end."""
    port, connections = map(int, sys.argv[1:])
    load = Load(port)
    threads = [threading.Thread(target=load.keep_busy) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(json.dumps(load.outcomes))


if __name__ == "__main__":
    main()

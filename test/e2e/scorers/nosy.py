"""Prints all that a scoring script can see of the machine: its environment, its descriptors, and sockets and files of ours that it can open."""

import json
import os
import socket
import ssl
from typing import List


def descriptors() -> List[str]:
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found.append(name + " " + os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass  # The one that listed the folder.
    return found


def ask(port: int) -> str:
    """What the coordinator says to a request without a token, over TLS that believes everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain) as secure:
            secure.sendall(b"GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            return secure.recv(65536).decode().split("\r\n")[0]


def init() -> None:
    print("ENVIRONMENT " + json.dumps(dict(os.environ)), flush=True)
    print("DESCRIPTORS " + json.dumps(descriptors()), flush=True)
    print("ANSWER " + ask(int(os.environ["ASK_PORT"])), flush=True)
    print("KEY " + os.environ["SERVICE_KEY"], flush=True)


def run(mini_batch: List[str]) -> List[str]:
    import sys

    # In two writes, which arrive as two pieces.
    key = os.environ["SERVICE_KEY"]
    sys.stderr.write("half " + key[:5])
    sys.stderr.flush()
    sys.stderr.write(key[5:] + " end\n")
    sys.stderr.flush()
    for path in mini_batch:
        with open(path, encoding="utf-8") as file:
            if file.read().strip() == "raise":
                raise ValueError("refused with the key " + key)
    return [str(len(key)) for _ in mini_batch]

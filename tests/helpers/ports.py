"""A port for a server of a test."""

import socket


def unused_port() -> int:
    """A port of 127.0.0.1 that no program listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

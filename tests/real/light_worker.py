"""A worker that needs no torch: it starts at once and does what its jobs say. It notes all it does in a log."""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def light_worker(connection: Connection, device: str, log: str, at_start: str) -> None:
    stopped: set[str] = set()
    jobs: list[dict[str, Any]] = []
    come = threading.Semaphore(0)

    def note(line: str) -> None:
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {line}\n")

    def listen() -> None:
        try:
            while True:
                message = connection.recv()
                if message["do"] == "stop":
                    stopped.add(message["id"])
                else:
                    jobs.append(message)
                    come.release()
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    note("start")
    if at_start == "refuse":
        connection.send({"id": "", "kind": "error", "error": {"type": "ConfigError", "message": "no such class"}})
        sys.exit(1)
    if at_start == "die at first" and Path(log).read_text().count("\n") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if at_start == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if at_start == "leave":
        sys.exit(3)
    if at_start == "hang":
        time.sleep(600.0)
    connection.send({"id": "", "kind": "ready"})
    while True:
        come.acquire()
        job = jobs.pop(0)
        note(f"begin {job['id']}")
        match job["do"]:
            case "listen":  # work until asked to stop
                while job["id"] not in stopped:
                    time.sleep(0.005)
                note(f"end {job['id']}")
                connection.send({"id": job["id"], "kind": "stopped"})
            case "ignore":  # work and never listen
                time.sleep(600.0)
            case "stammer":  # die in the middle of a message
                os.write(connection.fileno(), struct.pack("!i", 1000) + b"half")
                os._exit(4)
            case "echo":
                note(f"end {job['id']}")
                connection.send({"id": job["id"], "kind": "done", "result": job["say"]})

# SPDX-License-Identifier: GPL-2.0-or-later
"""A client for QEMU's machine protocol (QMP) on a connected socket.

Commands are answered in order, events are kept until somebody asks for them. Every wait has a
deadline; a connection that ends raises QmpClosed.
"""
import json
import time


class QmpError(Exception):
    """QEMU refused a command; the text is QEMU's own."""


class QmpClosed(Exception):
    """The process at the other end is gone."""


class Qmp:
    def __init__(self, socket, timeout=60):
        self.socket = socket
        self.timeout = timeout
        self.pending = b""
        self.events = []
        self._receive(time.monotonic() + timeout)  # the greeting
        self.command("qmp_capabilities")

    def command(self, name, /, timeout=None, **arguments):
        """Runs a command; underscores in argument names stand for dashes. Returns its answer."""
        deadline = time.monotonic() + (timeout or self.timeout)
        message = {"execute": name}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value
                                    for key, value in arguments.items()}
        try:
            self.socket.sendall(json.dumps(message).encode())
        except OSError as error:
            raise QmpClosed(str(error)) from error
        while True:
            answer = self._receive(deadline)
            if "error" in answer:
                raise QmpError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)

    def hmp(self, line):
        """Runs a line of the human monitor and returns what it prints."""
        return self.command("human-monitor-command", command_line=line)

    def event(self, *names, timeout=None, where=lambda data: True):
        """Takes the next event of one of these names whose data satisfy `where`."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            for event in self.events:
                if event["event"] in names and where(event.get("data", {})):
                    self.events.remove(event)
                    return event
            self.events.append(self._receive(deadline))

    def _receive(self, deadline):
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer from QEMU")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError as error:
                raise TimeoutError("no answer from QEMU") from error
            except ConnectionError as error:
                raise QmpClosed(str(error)) from error
            if not data:
                raise QmpClosed("QEMU closed its monitor")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

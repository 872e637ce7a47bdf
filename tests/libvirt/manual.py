# SPDX-License-Identifier: GPL-2.0-or-later
"""man/migfs-libvirt.7: what it tells to do, so that a test does just that."""
import os

import testbed

PAGE = os.path.join(testbed.TOP_DIR, "man", "migfs-libvirt.7")
ESCAPES = {r"\(dq": '"', r"\-": "-"}


class Manual:
    def __init__(self):
        with open(PAGE, encoding="ascii") as file:
            self.text = file.read()
        for escape, character in ESCAPES.items():
            self.text = self.text.replace(escape, character)
        shown = [line.removeprefix(".Dl ") for line in self.text.splitlines()
                 if line.startswith(".Dl ")]
        self.commands = {line.removeprefix("# ") for line in shown if line.startswith("# ")}
        self.setting, = (line for line in shown if line.startswith("shared_filesystems"))
        self.left = set(self.commands)

    def _take(self, command):
        testbed.check(command in self.commands, f"the manual page does not say: {command}")
        self.left.discard(command)
        return command

    def run(self, host, command, **arguments):
        return host.run(self._take(command), **arguments)

    def refused(self, host, command, message):
        """The host refuses it with a message that is in the page, too."""
        testbed.check(message in self.text, f"the manual page does not quote: {message}")
        said = host.refused(self._take(command) if command in self.commands else command)
        testbed.check(message in said, said)

    def expect_nothing_left(self):
        testbed.check(not self.left, f"the manual page says, and no test does: {self.left}")

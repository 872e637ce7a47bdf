# SPDX-License-Identifier: GPL-2.0-or-later
"""man/migfs-libvirt.7: what it tells to do, so that a test does just that."""
import os
import sys

import testbed

sys.path.insert(0, os.path.join(testbed.TESTS_DIR, "manual"))

from page import Page  # noqa: E402

SETTING = "shared_filesystems"


class Manual(Page):
    def __init__(self):
        super().__init__("migfs-libvirt.7")
        self.setting, = (line.removeprefix(".Dl ") for line in self.text.splitlines()
                         if line.startswith(f".Dl {SETTING}"))

    def run(self, host, command, **arguments):
        return host.run(self.take(command), **arguments)

    def refused(self, host, command, message):
        """The host refuses it with a message that is in the page, too."""
        testbed.check(message in self.text, f"the manual page does not quote: {message}")
        said = host.refused(self.take(command) if command in self.examples else command)
        testbed.check(message in said, said)

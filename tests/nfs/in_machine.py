#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""in_machine.py TEST [ARGUMENT]...: runs a test in the lab's machine, whose kernel and root have what
a container's lack. Its exit status is the test's; TEST is a path from the top directory."""
import os
import sys
import tempfile

import machine
import testbed


def main():
    testbed.require_root()
    machine.require()
    with tempfile.TemporaryDirectory(prefix="migfs-machine-") as shared:
        status = machine.run(sys.argv[1:], shared)
    sys.exit(1 if status is None else status)


if __name__ == "__main__":
    main()

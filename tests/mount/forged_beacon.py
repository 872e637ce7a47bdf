# SPDX-License-Identifier: GPL-2.0-or-later
"""Beacons of hosts that there are not: the layout of migfs(5), with a right checksum."""

import ctypes
import os
import struct
import time

LAYOUT = "<8sIIQQQQ16s16s64s32s256s80x"
CHECKSUM = 16

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits.restype = ctypes.c_uint64
_xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def directory(source):
    return os.path.join(source, ".migfs", "hosts")


def listing(source):
    """The names of all beacons."""
    try:
        return sorted(os.listdir(directory(source)))
    except FileNotFoundError:
        return []


def read(path):
    """{field: value} of a beacon's file."""
    with open(path, "rb") as file:
        fields = struct.unpack(LAYOUT, file.read())
    names = ("magic", "version", "period", "checksum", "time", "mounted", "instance", "machine",
             "boot", "name", "release", "options")
    return {name: value.rstrip(b"\0").decode() if name in ("name", "release", "options") else value
            for name, value in zip(names, fields)}


def write(source, name="other", *, machine=b"M" * 16, boot=b"B" * 16, instance=7, period_s=60,
          clock_ahead_s=0, age_s=0, served_s=0, release="0.1.0", options="", version=1):
    """Its path. `age_s`: written so long ago by the store's clock; `clock_ahead_s`: of the host;
    `served_s`: mounted so long before that."""
    written_s = time.time() - age_s
    now_ns = int((written_s + clock_ahead_s) * 1e9)
    fields = [b"MIGFSBCN", version, period_s, 0, now_ns, now_ns - int(served_s * 1e9), instance,
              machine, boot, name.encode(), release.encode(), options.encode()]
    fields[3] = _xxhash.XXH3_64bits(struct.pack(LAYOUT, *fields), struct.calcsize(LAYOUT))
    os.makedirs(directory(source), mode=0o700, exist_ok=True)
    os.chmod(os.path.dirname(directory(source)), 0o700)
    path = os.path.join(directory(source), f"{machine.hex()}-{instance:016x}")
    with open(path, "wb") as file:
        file.write(struct.pack(LAYOUT, *fields))
    os.utime(path, (written_s, written_s))
    return path

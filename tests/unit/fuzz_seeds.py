#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""fuzz_seeds.py DIRECTORY: a few inputs of each fuzz target, and NAME.list of their paths, as
libFuzzer's -seed_inputs takes it. The first byte is the target's choice of what it makes right:
checksums are its own to mend."""
import os
import struct
import sys

CLUSTER = 65536


def with_fields(length, fields):
    """Zeroes but for (offset, bytes)."""
    block = bytearray(length)
    for at, value in fields:
        block[at:at + len(value)] = value
    return bytes(block)


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


def u64(*values):
    return struct.pack(f"<{len(values)}Q", *values)


def slot(version, generation, state, digests=0):
    """As cache/record.h lays it out."""
    fields = [(0, b"MIGFSREC" + u32(version, 4096)),
              (32, u64(generation, generation) + u32(state, 0)),
              (56, u64(1, 0, 0, 10 ** 18, 1 << 30, 10 ** 18)),
              (104, bytes(range(32)) + u64(7) + b"host-a")]
    if version > 1:
        fields += [(208, u32(digests, 0)), (216, u64(10 ** 18, 4096, 1000)), (240, u32(1, 8)),
                   (3840, b"\1" * 8)]
        fields += [(256 + 32 * i, u64(i << 20) + u32(4096, 0) + bytes([i + 1] * 16))
                   for i in range(digests)]
    return with_fields(4096, fields)


def records():
    owned, released = slot(2, 1, 1, digests=3), slot(2, 2, 2, digests=112)
    both, whole, legal = 3, 4, 8
    yield bytes([both | whole]) + owned + released
    yield bytes([1 | whole]) + owned                    # the other one is zeroes
    yield bytes([both | whole]) + slot(1, 3, 1) + released
    yield bytes([both | whole]) + slot(3, 3, 1) + released
    yield bytes([1 | whole]) + owned + released         # a torn one
    yield bytes([both | whole | legal | 16]) + owned + released
    yield bytes([both | whole | legal | 32]) + owned + released
    yield bytes([0]) + owned                            # cut off


def entry(generation, verified):
    """As cache/history.h lays it out."""
    return with_fields(256, [(0, b"MIGFSHIS" + u32(1, verified)),
                             (24, u64(generation, 1000 + generation, 11, 12, 13, 1)),
                             (96, b"host-a"), (160, b"host-b")])


def histories():
    entries = b"".join(entry(generation, generation % 4) for generation in range(8))
    yield b"\xff" + entries
    yield b"\xfe" + entries[:3 * 256 + 100]
    yield b"\xff" + bytes(256) + entry(65, 1) + bytes(256) + entry(3, 3)


def timelines():
    """As cache/timeline.h lays it out."""
    fields = [(0, b"MIGFSTML" + u32(1, 1)), (24, u64(7, 1, 0, 0, 10 ** 18, 5000, 3, 10 ** 7)),
              (88, u32(0, 2)), (112, b"host-a"),
              (176, u32(0, 10, 5 | 9 << 16, 10, 20, 5 | 10 << 16))]
    yield b"\1" + with_fields(512, fields)
    yield b"\1" + with_fields(512, [*fields, (12, u32(0)), (88, u32(1, 24))])
    yield b"\0" + with_fields(512, fields)
    yield b"\1" + with_fields(511, fields)


def beacons():
    """As cache/beacon.h lays it out."""
    fields = [(0, b"MIGFSBCN" + u32(1, 60)), (24, u64(1000, 900, 77) + bytes(range(32))),
              (80, b"host-a"), (144, b"0.1.0"), (176, b"deadline=5000")]
    yield b"\1" + with_fields(512, fields)
    yield b"\1" + with_fields(512, [*fields, (80, b"n" * 63), (144, b"v" * 31), (176, b"o" * 255)])
    yield b"\1" + with_fields(512, [*fields, (12, u32(3600))])
    yield b"\0" + with_fields(512, fields)


def ioctl_arguments():
    """The choice of a command, of right sizes, its bytes, and version 2 with what follows."""
    for choice in range(9, 18):
        yield bytes([choice, 1]) + bytes(4) + u32(2, 0)
    status, timeline = 9 + 2, 9 + 8
    yield bytes([status, 1]) + bytes(4) + u32(2, 1) + u64(77, 3)
    yield bytes([timeline, 1]) + bytes(4) + u32(2, 0) + u64(77)
    yield bytes([9, 1]) + bytes(4) + u32(2, 0, 0, 0, 0, 4711)


def image(version, clusters=16, extensions=b"", snapshots=0):
    """The head of a qcow2 image of 2 TiB; big-endian."""
    head = bytearray(4096)
    struct.pack_into(">4sI", head, 0, b"QFI\xfb", version)
    struct.pack_into(">IQ", head, 20, clusters, 2 << 40)
    struct.pack_into(">IQQIIQ", head, 36, 4096, 3 * CLUSTER, CLUSTER, 1, snapshots,
                     7 * CLUSTER if snapshots else 0)
    if version == 3:
        struct.pack_into(">II", head, 96, 4, 112)
        head[112:112 + len(extensions)] = extensions
    return bytes(head)


def images():
    bitmaps = struct.pack(">IIIIQQ", 0x23852875, 24, 1, 0, 40, 5 * CLUSTER)
    encryption = struct.pack(">IIQQ", 0x0537be77, 16, 9 * CLUSTER, 2068480)
    as_it_is = b"\2"
    yield as_it_is + image(2)
    yield as_it_is + image(3)
    yield as_it_is + image(3, extensions=bitmaps + encryption, snapshots=2)
    yield as_it_is + image(3, clusters=9, extensions=bitmaps)
    yield b"\x3d" + image(3, extensions=bitmaps + encryption)


def command_lines():
    for options in ("", "-o\nallow_other,ro", "-o\nprofile=qemu,fence=strict,standby=delay",
                    "-o\nrecord=require,protect=off,deadline=5000,workers=8", "-o\nio=passthrough",
                    "-o\ncoherence=off,fsname=a\\,b", "-f\n-d"):
        yield "\n".join(["/a", "/b", *filter(None, [options])]).encode()
    yield b"-h"


TARGETS = {"record": records, "history": histories, "timeline": timelines, "beacon": beacons,
           "ioctl_argument": ioctl_arguments, "qcow2": images, "options": command_lines}


def main():
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    for name, seeds in TARGETS.items():
        paths = []
        for number, seed in enumerate(seeds()):
            paths.append(os.path.join(directory, f"{name}-{number}"))
            with open(paths[-1], "wb") as file:
                file.write(seed)
        with open(os.path.join(directory, f"{name}.list"), "w", encoding="utf-8") as file:
            file.write(",".join(paths))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds an initramfs: busybox, kernel modules with what they need, and what the caller adds.

Writes the archive itself (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst),
so no root, no cpio and no device nodes are needed but the one for the console.
"""
import gzip
import lzma
import pathlib
import re
import shutil
import stat
import subprocess


class Archive:
    def __init__(self):
        self.parts = []
        self.count = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.count += 1
        path = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        self.parts += [self._padded(header + path), self._padded(data)]

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)

    @staticmethod
    def _padded(data):
        return data + b"\0" * (-len(data) % 4)


def module_bytes(directory, name):
    """The module, unpacked; None where the kernel has it built in."""
    for path in pathlib.Path(directory).rglob(f"{name}.ko*"):
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes())
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if path.suffix == ".zst":
            return subprocess.run(["zstd", "-dc", path], check=True, stdout=subprocess.PIPE).stdout
        return path.read_bytes()
    return None


def modules_in_load_order(directory, names, loaded=None):
    """Name to bytes, what a module needs before the module."""
    loaded = {} if loaded is None else loaded
    for name in names:
        data = None if name in loaded else module_bytes(directory, name)
        if data is None:
            continue
        needs = re.search(rb"\0depends=([^\0]*)\0", data)
        needed = needs.group(1).decode().split(",") if needs else []
        modules_in_load_order(directory, needed, loaded)
        loaded[name] = data
    return loaded


def build(modules_directory, modules, init, output, programs=()):
    """Writes the archive. init: text of /init, with {insmod} where the modules are to be loaded;
    programs: (name, path) of what goes in beside busybox."""
    archive = Archive()
    for directory in ("bin", "dev"):
        archive.add(directory, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for name, program in (("bin/busybox", shutil.which("busybox")), *programs):
        archive.add(name, stat.S_IFREG | 0o755, pathlib.Path(program).read_bytes())
    loaded = modules_in_load_order(modules_directory, modules)
    for name, data in loaded.items():
        archive.add(f"{name}.ko", stat.S_IFREG | 0o644, data)
    insmod = f"for module in {' '.join(loaded)}; do /bin/busybox insmod /$module.ko; done"
    archive.add("init", stat.S_IFREG | 0o755, init.format(insmod=insmod).encode())
    pathlib.Path(output).write_bytes(archive.bytes())

# SPDX-License-Identifier: GPL-2.0-or-later
"""What one cell of the matrix is: a case, over a stack, with an image, on a variant of NFS."""
import dataclasses
import typing

USUAL_STACKS = ("bare", "bindfs", "passthrough_hp", "migfs", "migfs-passthrough",
                "migfs-coherence-off")
FENCE_OFF = "migfs-fence-off"
WITHOUT_STEP = "migfs-without-step"  # of the protocol; the case names it
STACKS = USUAL_STACKS + (FENCE_OFF, WITHOUT_STEP)
MIGFS = ("migfs", "migfs-passthrough")  # those that promise
BINDFS = ("bindfs",)  # what most cases have for a twin: a layer that knows of no other host
FRESH, STALE, ERROR, SKIPPED = "fresh", "stale", "error", "skipped"


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the store is mounted and exported."""
    version: str = "4.2"
    squash: bool = False      # root_squash, and QEMU as uid 1000
    delegations: bool = True  # leases at the server
    mount: str = "strict"     # strict, default, nolock, local_lock

    def __str__(self):
        return "-".join([f"v{self.version}", *(["squash"] if self.squash else []),
                         *([] if self.delegations else ["nodeleg"]),
                         *([] if self.mount == "strict" else [self.mount])])


@dataclasses.dataclass(frozen=True)
class Image:
    """As QEMU opens it."""
    format: str = "raw"
    cache: str = "none"
    aio: str = "threads"

    def __str__(self):
        return f"{self.format}-{self.cache}" + ("" if self.aio == "threads" else f"-{self.aio}")

    def disk(self):
        return dataclasses.asdict(self)


RAW, QCOW2 = Image(), Image("qcow2", "writeback")
IMAGES = tuple(Image(image_format, cache, aio) for image_format in ("raw", "qcow2")
               for cache in ("none", "writeback", "directsync")
               for aio in ("threads", "io_uring"))
VARIANTS = tuple(Variant(version, squash, delegations, mount)
                 for version in ("4.2", "4.1", "4.0", "3") for squash in (False, True)
                 for delegations in (True, False) for mount in ("strict", "default")
                 if version.startswith("4") or delegations)  # v3 has no delegations
LOCKS_STAY_HERE = (Variant("3", mount="nolock"), Variant("3", mount="local_lock"))
ALL_VARIANTS = VARIANTS + LOCKS_STAY_HERE


def opens_by_state(variant):
    """NFSv3 has no open: its client asks for the attributes, and an image that was closed before is
    right over any layer."""
    return variant.version.startswith("4")


def reaches_server(variant):
    """What root does as itself, with locks that the other host sees."""
    return not variant.squash and variant not in LOCKS_STAY_HERE


LOCKS_STAY = "the mount keeps locks on its host: nobody can be refused by them"
TEST_IS_BLIND = ("the server tests NFSv3 locks as if to read: it finds no read lock of another "
                 "host, on bare NFS either")


def unrefused(_stack, _image, variant):
    """Why nobody on another host can be refused by QEMU's locks, or None."""
    if variant in LOCKS_STAY_HERE:
        return LOCKS_STAY
    return TEST_IS_BLIND if variant.version == "3" else None


@dataclasses.dataclass(frozen=True)
class Case:
    """run(site, image): a site is the two hosts of nfs_site.py; raises scenario.Wrong where a host
    sees or does what it must not, anything else where something fails; returns the downtime of
    migrate.py, what it has counted in words, or None.

    twins: the stacks that must be stale in it, or it proves nothing.
    no_twin: why there is none.
    images: those it makes sense with; one for a case that makes its own.
    variants: says which it makes sense with.
    stacks: those it makes sense over.
    excused(stack, image, variant): why migfs need not be right in it, or None.
    private: it has hosts of its own, or at least mounts.
    alone: no other cell runs beside it.
    options: of migfs, in this case.
    step: what its twin `migfs-without-step` leaves out (fs/fault.h).
    quick: short enough for the quick choice.
    deadline_s: of one cell.
    """
    name: str
    run: typing.Callable
    twins: tuple = ()
    no_twin: str = ""
    images: tuple = IMAGES
    variants: typing.Callable = lambda variant: True
    stacks: tuple = USUAL_STACKS
    excused: typing.Callable = lambda stack, image, variant: None
    private: bool = False
    alone: bool = False
    options: str = ""
    step: str = ""
    quick: bool = True
    deadline_s: int = 90

    def __post_init__(self):
        assert bool(self.twins) != bool(self.no_twin), f"{self.name}: twins, or why there is none"

    def all_stacks(self):
        return self.stacks + tuple(twin for twin in self.twins if twin not in self.stacks)


@dataclasses.dataclass(frozen=True)
class Cell:
    stack: str
    case: Case
    image: Image
    variant: Variant

    def __str__(self):
        return "/".join([self.stack, self.case.name.replace(" ", "-"), str(self.image),
                         str(self.variant)])


@dataclasses.dataclass
class Outcome:
    """What a cell gave: state is FRESH, STALE, ERROR or SKIPPED."""
    state: str
    detail: str = ""
    downtime_ms: int = None  # as QEMU reports it
    standstill_ms: float = None  # of the guest, until it runs over there
    seconds: float = 0.0


def judge(cell, outcome):
    """None, or why this outcome is not as it must be."""
    if outcome.state == SKIPPED:
        return None
    if cell.stack in MIGFS:
        excused = cell.case.excused(cell.stack, cell.image, cell.variant)
        if outcome.state not in ((FRESH, STALE) if excused else (FRESH,)):
            return f"{outcome.state}: {outcome.detail}"
    elif cell.stack in cell.case.twins and outcome.state != STALE:
        # Root serves bindfs, and is nobody on such an export: its user's images cannot be made.
        if outcome.state == FRESH or not (cell.stack == "bindfs" and cell.variant.squash):
            return f"{outcome.state} over a twin: the case proves nothing"
    return None

# SPDX-License-Identifier: GPL-2.0-or-later
"""A private place for one test: directories, mounts, processes, a deadline.

    with Testbed("locks", deadline_s=60) as bed:
        source = bed.directory("source")
        mount = bed.mount_migfs(source)
        ...

Promises: whatever happens inside (an exception, a hung mount, the deadline, SIGTERM), the FUSE
connections made here are aborted, the mounts detached, the processes started here killed by pid,
and the directory removed. Nothing is found or killed by name, and no mountpoint is ever touched to
find out about it: a hung mount would hang the test too.

A daemon that ends with another status than 0, or leaves a sanitizer's report in its log, fails the
test when it is unmounted, at the latest when the `with` block ends.

Environment: MIGFS_BIN_DIR (migfs, migfsctl, ctofs; default build/bin), MIGFS_TEST_BIN_DIR
(programs for tests only; default: tests beside it), MIGFS_BUILD_DIR (where directories are made, if
it lies on a real disk that every user can reach; otherwise /var/tmp), MIGFS_KEEP=1 (keep the
directory), MIGFS_STACK (what `mount_stack` mounts; default migfs), MIGFS_MESSAGES (a directory that
keeps what programs print, for messages.py).
"""

import concurrent.futures
import faulthandler
import functools
import multiprocessing
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

TESTS_DIR = os.path.dirname(os.path.abspath(__file__))
TOP_DIR = os.path.dirname(TESTS_DIR)
CONNECTIONS = "/sys/fs/fuse/connections"
EXIT_PASSED, EXIT_FAILED, EXIT_SKIPPED = 0, 1, 77

# The unprivileged caller: an id of its own, and groups beside it.
USER_UID = 1000
USER_GID = 1000
USER_GROUPS = (1000, 1001, 1002)

SANITIZER_REPORT = re.compile(
    r"(ERROR: (Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer|runtime error:"
    r"|AddressSanitizer:DEADLYSIGNAL)")
SANITIZER_DEFAULTS = {
    "ASAN_OPTIONS": "exitcode=86:abort_on_error=0:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=0",
    "TSAN_OPTIONS": "exitcode=86:halt_on_error=0",
}


class TestFailure(Exception):
    """Something that must hold does not."""


def skip(reason):
    """Ends the test as skipped; inside a `with Testbed` the clean-up still runs."""
    print(f"skipped: {reason}", flush=True)
    sys.exit(EXIT_SKIPPED)


def check(condition, message):
    if not condition:
        raise TestFailure(message)


def require_root():
    if os.geteuid() != 0:
        skip("needs root")


def require_fuse():
    if not os.path.exists("/dev/fuse"):
        skip("no /dev/fuse")


def require_tools(*names):
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        skip("not installed: " + " ".join(missing))


def bin_dir():
    return os.environ.get("MIGFS_BIN_DIR") or os.path.join(TOP_DIR, "build", "bin")


def test_bin_dir():
    return (os.environ.get("MIGFS_TEST_BIN_DIR")
            or os.path.join(os.path.dirname(bin_dir()), "tests"))


def binary(name):
    """The path of a built program (migfs, migfsctl, ctofs, or one for tests only)."""
    for directory in (bin_dir(), test_bin_dir()):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    raise TestFailure(f"{name} is not built: looked in {bin_dir()} and {test_bin_dir()}")


def wait_until(predicate, timeout_s=10.0, what="condition", interval_s=0.005):
    """Waits for what has no event to wait for; returns the predicate's true value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TestFailure(f"{what}: not so after {timeout_s} s")
        time.sleep(interval_s)


def _unescape(field):
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), field)


def mount_table():
    """[(mountpoint, major, minor, type, source, options)] from mountinfo, newest last."""
    table = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            dash = fields.index("-")
            major, minor = fields[2].split(":")
            table.append((_unescape(fields[4]), int(major), int(minor), fields[dash + 1],
                          _unescape(fields[dash + 2]), fields[5] + "," + fields[dash + 3]))
    return table


def mount_entry(mountpoint):
    """The topmost mount at exactly this path, or None; never touches the path itself."""
    entries = [entry for entry in mount_table() if entry[0] == mountpoint]
    return entries[-1] if entries else None


def is_mounted(mountpoint):
    return mount_entry(mountpoint) is not None


def _filesystem_type(path):
    device = os.stat(path).st_dev
    for _, major, minor, kind, _, _ in mount_table():
        if (major, minor) == (os.major(device), os.minor(device)):
            return kind
    return "unknown"


def _everybody_reaches(path):
    while True:
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def _base_directory():
    build = os.environ.get("MIGFS_BUILD_DIR")
    for candidate in ([os.path.join(os.path.abspath(build), "tmp")] if build else []):
        try:
            os.makedirs(candidate, exist_ok=True)
            if (_everybody_reaches(candidate)
                    and _filesystem_type(candidate) not in ("tmpfs", "ramfs", "overlay")):
                return candidate
        except OSError:
            continue
    return "/var/tmp"


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_exit(pid, timeout_s):
    """Waits until a process, child or not, is gone; False when it still runs."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(max(0, timeout_s) * 1000))
    finally:
        os.close(fd)


def _environment(extra=None):
    environment = dict(os.environ)
    for name, value in SANITIZER_DEFAULTS.items():
        environment.setdefault(name, value)
    environment.setdefault("LC_ALL", "C.UTF-8")
    environment.update(extra or {})
    return environment


def keep_said(text):
    """Lets messages.py know what a program printed, where it asks for that."""
    directory = os.environ.get("MIGFS_MESSAGES")
    if directory and text:
        with open(os.path.join(directory, str(os.getpid())), "a", encoding="utf-8",
                  errors="surrogateescape") as file:
            file.write(text + "\n")


def user_arguments(uid=USER_UID, gid=USER_GID, groups=USER_GROUPS):
    """Keyword arguments that make subprocess run a program as the unprivileged caller."""
    return {"user": uid, "group": gid, "extra_groups": list(groups)}


class Mount:
    """One mounted filesystem.

    path: the mountpoint; source: what it shows; log: its log's path; process: the foreground
    server, or None; pid: the server's pid, of a daemonized one too.
    """

    def __init__(self, bed, kind, source, path, log, process, pid):
        self.bed = bed
        self.kind = kind
        self.source = source
        self.path = path
        self.log = log
        self.process = process
        self.pid = pid
        self.ended = False
        entry = mount_entry(path)
        self.connection = entry[2] if entry else None

    def log_text(self):
        if self.log is None:
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def umount(self, timeout_s=20.0, lazy=False):
        """Unmounts, waits for the server to end and checks how it did."""
        command = (["umount"] + (["-l"] if lazy else [])
                   + (["-R"] if self.kind == "bind" else []) + [self.path])
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s,
                                check=False)
        check(result.returncode == 0, f"umount {self.path}: {result.stderr.strip()}")
        self.wait_end(timeout_s)

    def wait_end(self, timeout_s=20.0, expect=0):
        """Waits for the server to end by itself (after a signal or an umount), and checks how."""
        if self.ended:
            return
        if self.pid is not None and not wait_exit(self.pid, timeout_s):
            raise TestFailure(f"{self.kind} {self.pid} still runs {timeout_s} s after its end")
        self.ended = True
        if self.process is not None:
            status = self.process.wait()
            check(status == expect, f"{self.kind} on {self.path} ended with {status}, "
                  f"not {expect}")
        self.check_log()

    def check_log(self):
        report = SANITIZER_REPORT.search(self.log_text())
        check(report is None, f"{self.kind} on {self.path}: {report and report.group(0)}")

    def abort(self):
        """Ends the connection whatever hangs in it; the server's status no longer matters."""
        self.ended = True
        self.abort_connection()
        if is_mounted(self.path):
            subprocess.run(["umount", "-l", self.path], capture_output=True, check=False)
        if self.pid is not None and not wait_exit(self.pid, 5):
            self.kill()
        if self.process is not None:
            self.process.wait()

    def abort_connection(self):
        if self.connection is None or not self.kind.startswith("fuse"):
            return
        try:
            with open(f"{CONNECTIONS}/{self.connection}/abort", "w", encoding="ascii") as file:
                file.write("1")
        except OSError:
            pass  # already gone with its last mount

    def signal(self, number):
        """One that is stopped reads no request any more when this returns."""
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            wait_until(lambda: set(_states(self.pid)) == {"T"}, what=f"{self.pid} to stop")

    def kill(self):
        """SIGKILL, as a crash would be."""
        if self.pid is None:
            return
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        wait_exit(self.pid, 10)


def _states(pid):
    """Of its threads: a letter each (proc_pid_stat(5))."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as file:
                yield file.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            pass  # the thread has ended meanwhile


class Failed:
    """A mount command that was expected to fail and did: its status and what it said."""

    def __init__(self, status, output):
        self.status = status
        self.output = output


class Testbed:
    """See the module's description."""

    __test__ = False

    def __init__(self, name, deadline_s=60):
        self.name = name
        self.deadline_s = float(os.environ.get("MIGFS_DEADLINE_FACTOR", "1")) * deadline_s
        self.mounts = []
        self.processes = []
        self.root = None
        self._lock = threading.Lock()
        self._cleaning = threading.RLock()  # held to the end: who comes second waits
        self._cleaned = False
        self._finished = threading.Event()
        self._counter = 0

    # Life ------------------------------------------------------------------------------------

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix=f"migfs-{self.name}-", dir=_base_directory())
        os.chmod(self.root, 0o755)
        if not os.path.isdir(os.path.join(CONNECTIONS, "0")) and os.geteuid() == 0:
            if "fusectl" not in [entry[3] for entry in mount_table()]:
                subprocess.run(["mount", "-t", "fusectl", "fusectl", CONNECTIONS],
                               capture_output=True, check=False)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, self._on_signal)
        threading.Thread(target=self._watch_deadline, daemon=True).start()
        return self

    def __exit__(self, kind, value, traceback):
        skipped = kind is SystemExit and value.code in (0, EXIT_SKIPPED)
        failure = None
        if kind is None or skipped:
            failure = self._end_mounts()
        failed = failure is not None or not (kind is None or skipped)
        self._clean(failed)
        self._finished.set()
        if failure is not None:
            raise failure
        return False

    def _end_mounts(self):
        failure = None
        for process in self.processes:
            self._kill(process)
        for mount in reversed(self.mounts):
            if mount.ended:
                continue
            try:
                if is_mounted(mount.path):
                    mount.umount()
                else:
                    mount.wait_end()
            except (TestFailure, subprocess.SubprocessError) as error:
                failure = failure or error
        return failure

    def _on_signal(self, number, _frame):
        self._clean(failed=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _watch_deadline(self):
        if self._finished.wait(self.deadline_s):
            return
        # The main thread may hang in a system call: everything is done from here.
        print(f"{self.name}: the deadline of {self.deadline_s:g} s is over", file=sys.stderr,
              flush=True)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        self._print_waiting()
        with self._cleaning:
            self._clean(failed=True)
            os._exit(1)

    def _print_waiting(self):
        for pid in [m.pid for m in self.mounts if m.pid] + [p.pid for p in self.processes]:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/wchan", encoding="ascii") as file:
                        print(f"  process {pid} thread {task} waits in {file.read()}",
                              file=sys.stderr)
            except OSError:
                continue

    def _clean(self, failed):
        with self._cleaning:
            if not self._cleaned:
                self._cleaned = True
                self._clean_all(failed)

    def _clean_all(self, failed):
        if failed:
            self._print_logs()
        self._keep_logs()
        for mount in self.mounts:  # first all: a connection may wait for another one
            if not mount.ended:
                mount.abort_connection()
        for process in self.processes:
            self._kill(process)
        for mount in reversed(self.mounts):
            if not mount.ended:
                mount.abort()
        for mountpoint in reversed([entry[0] for entry in mount_table()]):
            if mountpoint.startswith(self.root + "/"):
                subprocess.run(["umount", "-l", mountpoint], capture_output=True, check=False)
        if os.environ.get("MIGFS_KEEP"):
            print(f"kept: {self.root}", file=sys.stderr)
            return
        if not any(entry[0].startswith(self.root + "/") for entry in mount_table()):
            shutil.rmtree(self.root, ignore_errors=True)

    def _print_logs(self):
        for mount in self.mounts:
            if mount.log is None or not os.path.exists(mount.log):
                continue
            lines = mount.log_text().splitlines()
            print(f"--- log of {mount.kind} on {mount.path} (last 60 of {len(lines)} lines)",
                  file=sys.stderr)
            print("\n".join(lines[-60:]), file=sys.stderr, flush=True)

    def _keep_logs(self):
        for name in os.listdir(self.root):
            if name.startswith("log."):
                with open(os.path.join(self.root, name), encoding="utf-8",
                          errors="surrogateescape") as file:
                    keep_said(file.read())

    @staticmethod
    def _kill(process):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            print(f"process {process.pid} does not die", file=sys.stderr)

    # Directories and processes ---------------------------------------------------------------

    def unique(self, stem):
        with self._lock:
            self._counter += 1
            return os.path.join(self.root, f"{stem}.{self._counter}")

    def socket_path(self, stem):
        """Of a socket that a program of any user makes."""
        return os.path.join(self.directory("sockets", mode=0o1777),
                            os.path.basename(self.unique(stem)))

    def directory(self, name=None, mode=0o755):
        """A new directory in the testbed; name may have slashes."""
        path = os.path.join(self.root, name) if name else self.unique("dir")
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def install(self, name):
        """A copy of a built program that the unprivileged caller can execute, too."""
        path = os.path.join(self.directory("bin"), name)
        if not os.path.exists(path):
            shutil.copy(binary(name), path)
            os.chmod(path, 0o755)
        return path

    def spawn(self, argv, as_user=False, env=None, **arguments):
        """Starts a process (Popen) in a session of its own; killed at the latest on exit."""
        if as_user:
            arguments.update(user_arguments())
        arguments.setdefault("start_new_session", True)
        process = subprocess.Popen([str(a) for a in argv], env=_environment(env), **arguments)
        self.processes.append(process)
        return process

    def run(self, argv, as_user=False, expect=0, timeout_s=None, env=None, **arguments):
        """Runs to the end; (stdout, stderr as text). expect=None: any status, in .returncode."""
        arguments.setdefault("stdout", subprocess.PIPE)
        arguments.setdefault("stderr", subprocess.PIPE)
        arguments.setdefault("stdin", subprocess.DEVNULL)
        arguments.setdefault("text", True)
        if arguments["text"]:
            arguments.setdefault("errors", "surrogateescape")
        process = self.spawn(argv, as_user=as_user, env=env, **arguments)
        out, err = process.communicate(timeout=timeout_s or self.deadline_s)
        self.processes.remove(process)
        if arguments["text"]:
            keep_said((out or "") + (err or ""))
        if expect is not None and process.returncode != expect:
            raise TestFailure(f"{' '.join(map(str, argv))}: status {process.returncode}, "
                              f"not {expect}\n{out or ''}{err or ''}")
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    # Mounts ----------------------------------------------------------------------------------

    def mount_migfs(self, source, mountpoint=None, options="", expect=0, daemon=False, env=None):
        """Mounts source by migfs; options: as after -o. With expect != 0: a `Failed`."""
        argv = [binary("migfs"), source, "MOUNTPOINT"] + (["-o", options] if options else [])
        return self.mount("fuse.migfs", argv, source, mountpoint, expect, daemon, env)

    def mount_ctofs(self, store, mountpoint=None, options="", expect=0, daemon=False, env=None):
        """Mounts a store by ctofs: close-to-open coherent, as another host's NFS mount."""
        argv = [binary("ctofs"), store, "MOUNTPOINT"] + (["-o", options] if options else [])
        return self.mount("fuse.ctofs", argv, store, mountpoint, expect, daemon, env)

    def mount_bindfs(self, source, mountpoint=None, options="", expect=0, daemon=False, env=None):
        """Mounts source by Debian's bindfs: the control."""
        require_tools("bindfs")
        argv = ["bindfs"] + (["-o", options] if options else []) + [source, "MOUNTPOINT"]
        return self.mount("fuse.bindfs", argv, source, mountpoint, expect, daemon, env)

    def mount_stack(self, source, mountpoint=None, options=""):
        """Mounts by migfs, or by what MIGFS_STACK says: bindfs, none (a bind mount), or a command
        line with SOURCE and MOUNTPOINT in it. To see a test fail, or pass, without migfs."""
        stack = os.environ.get("MIGFS_STACK", "migfs")
        if stack == "migfs":
            return self.mount_migfs(source, mountpoint, options)
        if stack == "bindfs":
            return self.mount_bindfs(source, mountpoint)
        if stack == "none":
            return self.mount_bind(source, mountpoint)
        argv = [source if word == "SOURCE" else word.replace("source=SOURCE", f"source={source}")
                for word in stack.split()]
        return self.mount("fuse.other", argv, source, mountpoint)

    def mount_bind(self, source, mountpoint=None):
        path = mountpoint or self.directory(os.path.basename(self.unique("mnt")))
        self.run(["mount", "--rbind", source, path])
        mount = Mount(self, "bind", source, path, None, None, None)
        self.mounts.append(mount)
        return mount

    def mount(self, kind, argv, source, mountpoint=None, expect=0, daemon=False, env=None):
        """Runs a mount program; the word MOUNTPOINT in argv stands for the mountpoint.

        In the foreground (-f is added) it is waited for until the mount is there; daemon=True runs
        it as users do, until it returns. expect != 0: it must exit so and mount nothing.
        """
        path = mountpoint or self.directory(os.path.basename(self.unique("mnt")))
        argv = [path if word == "MOUNTPOINT" else word for word in argv]
        log = self.unique("log")
        if expect != 0 or daemon:
            return self._mount_to_end(kind, argv, source, path, log, expect, env)
        before = mount_entry(path)
        with open(log, "wb") as file:
            process = subprocess.Popen(self._tied(argv + ["-f"]), stdin=subprocess.DEVNULL,
                                       stdout=file, stderr=file, env=_environment(env),
                                       start_new_session=True)
        mount = Mount(self, kind, source, path, log, process, process.pid)
        self.mounts.append(mount)
        try:
            self._wait_mounted(mount, before)
        except TestFailure:
            mount.kill()
            mount.abort()
            raise
        return mount

    @staticmethod
    def _tied(argv):
        """A server dies with the test, even when the test is killed."""
        if (threading.current_thread() is threading.main_thread() and shutil.which("setpriv")):
            return ["setpriv", "--pdeathsig", "KILL"] + argv
        return argv

    def _mount_to_end(self, kind, argv, source, path, log, expect, env):
        before = mount_entry(path)
        with open(log, "wb") as file:  # a file, no pipe: the daemon may keep it open
            process = self.spawn(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env)
            status = process.wait(timeout=60)
        self.processes.remove(process)
        with open(log, encoding="utf-8", errors="replace") as file:
            output = file.read()
        mount = Mount(self, kind, source, path, log, None, None)
        if mount_entry(path) != before:
            mount.pid = self.find_daemon(path)
            self.mounts.append(mount)
        check(status == expect, f"{' '.join(argv)}: status {status}, not {expect}\n{output}")
        if expect != 0:
            check(mount_entry(path) == before, f"{' '.join(argv)}: failed, and mounted")
            return Failed(status, output)
        check(mount_entry(path) != before, f"{' '.join(argv)}: returned 0, and nothing is mounted")
        return mount

    @staticmethod
    def find_daemon(path):
        """The process whose arguments name this (private) mountpoint."""
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if os.fsencode(path) in file.read().split(b"\0") and _alive(int(name)):
                        return int(name)
            except OSError:
                continue
        return None

    def _wait_mounted(self, mount, before, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        pidfd = os.pidfd_open(mount.pid)
        with open("/proc/self/mountinfo", "rb") as mountinfo:
            poll = select.poll()
            poll.register(mountinfo, select.POLLPRI | select.POLLERR)
            poll.register(pidfd, select.POLLIN)
            try:
                while True:
                    entry = mount_entry(mount.path)
                    if entry is not None and entry != before:
                        mount.connection = entry[2]
                        break
                    if mount.process.poll() is not None:
                        raise TestFailure(f"{mount.kind}: ended with {mount.process.returncode} "
                                          f"and mounted nothing\n{mount.log_text()}")
                    if time.monotonic() > deadline:
                        raise TestFailure(f"{mount.kind}: nothing mounted after {timeout_s} s")
                    poll.poll(200)
            finally:
                os.close(pidfd)
        # Served, not only mounted: the first answer. In a process of its own, it may hang.
        subprocess.run(["stat", "-f", mount.path], capture_output=True, timeout=timeout_s,
                       check=False)


def _outcome(name, function, deadline_s):
    """What its test alone would exit with."""
    try:
        with Testbed(name, deadline_s=deadline_s) as bed:
            function(bed)
    except (TestFailure, OSError, subprocess.SubprocessError) as failure:
        print(f"{function.__name__}: {failure}", flush=True)
        return EXIT_FAILED
    except SystemExit as ended:
        if ended.code != EXIT_SKIPPED:
            raise
        return EXIT_SKIPPED
    return EXIT_PASSED


def run_checks(name, checks, deadline_s=60, at_once=1):
    """Runs functions of a Testbed, each in its own, or those that the command line names. One that
    skips makes the whole test a skipped one, unless another fails: it is no pass. More than one at
    once, each in a process: for checks that mostly wait, and bear with the mounts of others."""
    wanted = [function for function in checks
              if not sys.argv[1:] or function.__name__ in sys.argv[1:]]
    require_root()
    require_fuse()
    os.umask(0o022)
    run = functools.partial(_outcome, name, deadline_s=deadline_s)
    if at_once == 1:
        outcomes = list(map(run, wanted))
    else:
        with concurrent.futures.ProcessPoolExecutor(
                at_once, multiprocessing.get_context("fork")) as pool:
            outcomes = list(pool.map(run, wanted))
    failed, skipped = ([function.__name__ for function, outcome in zip(wanted, outcomes)
                        if outcome == status] for status in (EXIT_FAILED, EXIT_SKIPPED))
    check(not failed, f"{len(failed)} of {len(checks)} checks: {' '.join(failed)}")
    if skipped:
        skip(f"{len(skipped)} of {len(checks)} checks: {' '.join(skipped)}")


def main(test):
    """Runs a test's body: prints what failed, exits 0, 1 or 77."""
    try:
        test()
    except TestFailure as failure:
        print(f"FAILED: {failure}", file=sys.stderr, flush=True)
        sys.exit(EXIT_FAILED)
    print("passed", flush=True)
    sys.exit(EXIT_PASSED)

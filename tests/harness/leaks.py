"""Proof that nothing is left: what a scratch daemon may own on this machine, looked at from outside.

`left_over(scratch, ids)` walks processes, mounts, cgroups, network, unit names and files for anything that belongs to
the scratch folder or carries one of the ids, and returns one line for each thing found. It believes nothing the daemon
says. The test process makes itself the reaper of orphans (`adopt_orphans`), so that a process which was cut loose from a
killed daemon is still found below it.
"""
import ctypes
import glob
import os
import re
import shutil
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _read(path):
    try:
        with open(path, "rb") as source:
            return source.read()
    except OSError:
        return b""


def process_table():
    """pid -> (parent, state, command) of every process."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        stat = _read(f"/proc/{name}/stat").decode("utf-8", "replace")
        match = re.match(r"\d+ \((.*)\) (\S) (\d+)", stat, re.DOTALL)
        if match:
            table[int(name)] = (int(match[3]), match[2], match[1])
    return table


def reap(spare):
    """Collects adopted processes that have ended; never those in `spare`, which have their own owners."""
    for pid, (parent, state, _) in process_table().items():
        if parent == os.getpid() and state == "Z" and pid not in spare:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def command_line(pid):
    return _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _describe(pid):
    return f"process {pid}: {command_line(pid) or process_table().get(pid, ('', '', '?'))[2]}"


def processes(marks, spare, with_mounts=True):
    """Processes that mention a mark in arguments, environment, cgroup, folders or mounts of their own.

    A mark in the mounts alone does not say whose the process is: a mount namespace begins with a copy of all that is mounted
    on the machine at that moment, by other tests too.
    """
    found = []
    for pid in process_table():
        if pid == os.getpid() or pid in spare:
            continue
        where = _read(f"/proc/{pid}/cmdline") + _read(f"/proc/{pid}/environ") + \
            _read(f"/proc/{pid}/cgroup")
        for link in ("exe", "cwd", "root"):
            try:
                where += os.readlink(f"/proc/{pid}/{link}").encode()
            except OSError:
                pass
        if with_mounts and not _same_mounts(pid):
            where += _read(f"/proc/{pid}/mountinfo")
        if any(mark.encode() in where for mark in marks):
            found.append(_describe(pid))
    return found


def _same_mounts(pid):
    """Whether a process sees our own mounts, which `mounts` looks at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        return True


def descendants(spare):
    """Living processes below this one, but for `spare` and what is below them."""
    table = process_table()
    found, wave = [], [os.getpid()]
    while wave:
        wave = [pid for pid, (parent, state, _) in table.items()
                if parent in wave and pid not in spare and state != "Z"]
        found += wave
    return [_describe(pid) for pid in found]


def mounts(marks):
    lines = _read("/proc/self/mountinfo").decode("utf-8", "replace").splitlines()
    return [f"mount {line.split()[4]} ({line.split(' - ')[1].split()[0]})" for line in lines
            if any(mark in line for mark in marks)]


def cgroups(marks):
    """Folders of any cgroup hierarchy whose name contains a mark."""
    found = []
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        for name in list(names):
            if any(mark in name for mark in marks):
                found.append(f"cgroup {os.path.join(folder, name)}")
                names.remove(name)
    return found


def units(marks):
    if not os.path.isdir("/run/systemd/system"):
        return []
    listing = subprocess.run(["systemctl", "list-units", "--all", "--plain", "--no-legend"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             check=False).stdout
    return [f"unit {line.split()[0]}" for line in listing.splitlines()
            if line.strip() and any(mark in line for mark in marks)]


def named_files(marks):
    """Entries that carry a mark in places where such daemons and their plugins keep things for all."""
    found = []
    for top in ("/var/lib/cni", "/run/netns", "/run/containerd", "/run/runc", "/run/crun", "/tmp",
                "/var/tmp", "/dev/shm", "/dev/mqueue", "/var/log"):
        for folder, names, entries in os.walk(top):
            if folder.count("/") - top.count("/") > 3:
                names.clear()
            found += [f"file {os.path.join(folder, name)}" for name in names + entries
                      if any(mark in name for mark in marks)]
    return found


def runtime_files():
    """What a crun that was killed in the middle leaves in /tmp, where it does not know better: itself, mounted on a file.

    Those of a living one are there for a millisecond.
    """
    return [f"file {path}" for path in glob.glob("/tmp/crun.??????")]


# The portmap plugin's for the whole machine: it makes them with the first mapped port, and no DEL removes them.
PERMANENT_CHAINS = {"CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"}


def empty_chains():
    """Chains of CNI plugins (`CNI-` and a hash of network and pod) without a rule: all that a half-done DEL leaves."""
    found = set()
    for program in ("iptables-save", "iptables-legacy-save", "ip6tables-save"):
        listing = subprocess.run([program, "-t", "nat"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                 check=False).stdout.splitlines() if shutil.which(program) else []
        filled = {line.split()[1] for line in listing if line.startswith("-A ")}
        found |= {f"{program}: empty chain {line[1:].split()[0]}" for line in listing
                  if line.startswith(":CNI-") and line[1:].split()[0] not in filled | PERMANENT_CHAINS}
    return found


def tree(*tops):
    """All paths below the given folders, with sockets and such; missing folders are empty."""
    out = set()
    for top in tops:
        for folder, names, entries in os.walk(top):
            out.update(os.path.join(folder, name) for name in names + entries)
    return out


def descriptors(pid):
    """What the open descriptors of a process point at, without the numbers that change by themselves."""
    out = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            out.append(re.sub(r"\[\d+\]", "", target))
    except OSError:
        pass
    return sorted(out)


def threads(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def settle(check, seconds=10):
    """Calls check() until it returns nothing, or for that long; returns its last answer."""
    deadline = time.monotonic() + seconds
    while True:
        left = check()
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)

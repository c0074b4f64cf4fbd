"""What a process takes of the machine's memory."""
import re


def _field(path, name):
    with open(path, encoding="utf-8") as text:
        return int(re.search(rf"^{name}:\s*(\d+) kB", text.read(), re.MULTILINE)[1])


def pss_kilobytes(pid):
    return _field(f"/proc/{pid}/smaps_rollup", "Pss")


def peak_kilobytes(daemon):
    """The most that has been resident since reset_peak."""
    return _field(f"/proc/{daemon.pid}/status", "VmHWM")


def reset_peak(daemon):
    """Begins a new peak; what is resident now."""
    with open(f"/proc/{daemon.pid}/clear_refs", "w", encoding="ascii") as out:
        out.write("5")
    return peak_kilobytes(daemon)

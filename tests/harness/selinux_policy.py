"""A SELinux policy that is just enough to see labels at work, and its loading into a kernel that has none.

Everything is allowed but what the categories of a level keep apart: reading and writing files of another level.
"""
import ctypes
import os
import subprocess
import tempfile

MOUNT = "/sys/fs/selinux"
SIDS = ("kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket "
        "tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod "
        "policy scmp_packet devnull").split()
TYPES = ("kernel_t", "container_t", "container_file_t", "spc_t", "svirt_lxc_net_t", "file_t")
# A label is only given to what is of a class that the policy knows.
OTHER_FILES = ("dir", "lnk_file", "chr_file", "blk_file", "fifo_file", "sock_file")
CATEGORIES = " ".join(f"c{number}" for number in range(1024))


def text():
    """In SELinux's Common Intermediate Language."""
    lines = [
        "(handleunknown allow) (mls true)",
        "(class process (transition dyntransition)) (class file (read write open))",
        *(f"(class {name} (read))" for name in OTHER_FILES), f"(classorder (process file {' '.join(OTHER_FILES)}))",
        *(f"(sid {sid})" for sid in SIDS), f"(sidorder ({' '.join(SIDS)}))",
        "(sensitivity s0) (sensitivityorder (s0))",
        *(f"(category {name})" for name in CATEGORIES.split()), f"(categoryorder ({CATEGORIES}))",
        "(sensitivitycategory s0 (range c0 c1023))",
        "(level low (s0)) (level high (s0 (range c0 c1023)))",
        "(levelrange lowhigh (low high)) (levelrange lowlow (low low))",
        "(user system_u) (role object_r) (role system_r) (userrole system_u object_r) (userrole system_u system_r)",
        "(userlevel system_u low) (userrange system_u lowhigh)",
        *(f"(type {name}) (roletype system_r {name}) (roletype object_r {name})" for name in TYPES),
        f"(typeattribute any) (typeattributeset any ({' '.join(TYPES)}))",
        # As on a node, where what the runtime starts without a label is of this type.
        "(typetransition kernel_t container_file_t process spc_t)",
        "(allow any any (file (read write open))) (allow any any (process (transition dyntransition)))",
        *(f"(allow any any ({name} (read)))" for name in OTHER_FILES),
        "(context process (system_u system_r kernel_t lowhigh)) (context other (system_u object_r file_t lowlow))",
        *(f"(sidcontext {sid} {'process' if sid in ('kernel', 'init', 'kmod') else 'other'})" for sid in SIDS),
        "(mlsconstrain (file (read write open)) (or (dom h1 h2) (eq t1 kernel_t)))",
        *(f"(fsuse trans {name} other)" for name in ("tmpfs", "devpts", "mqueue", "devtmpfs")),
        *(f"(fsuse xattr {name} other)" for name in ("ext4", "overlay")),
        *(f"(fsuse task {name} other)" for name in ("pipefs", "sockfs")),
        *(f"(genfscon {name} / other)" for name in
          ("proc", "sysfs", "cgroup2", "cgroup", "hostfs", "selinuxfs", "rootfs", "securityfs", "nsfs"))]
    return "\n".join(lines) + "\n"


def current():
    """This process's label; "" without SELinux, "kernel" without a policy."""
    try:
        with open("/proc/self/attr/current", encoding="utf-8") as value:
            return value.read().strip("\0\n ")
    except OSError:
        return ""


def may_load():
    """Whether this is a guest whose kernel has SELinux and no policy: a kernel keeps what it is given."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpu, open("/proc/filesystems", encoding="utf-8") as known:
        return "User Mode Linux" in cpu.read() and "selinuxfs" in known.read() and current() == "kernel"


def load():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"selinuxfs", MOUNT.encode(), b"selinuxfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount selinuxfs on {MOUNT}")
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/policy.cil", "w", encoding="utf-8") as out:
            out.write(text())
        subprocess.run(["secilc", "-o", f"{folder}/policy", "-f", "/dev/null", f"{folder}/policy.cil"], check=True)
        with open(f"{folder}/policy", "rb") as policy:
            compiled = policy.read()
    # The kernel takes it in one piece.
    descriptor = os.open(f"{MOUNT}/load", os.O_WRONLY)
    try:
        os.write(descriptor, compiled)
    finally:
        os.close(descriptor)
    with open(f"{MOUNT}/enforce", "w", encoding="utf-8") as enforce:
        enforce.write("1")

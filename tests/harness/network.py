"""A pod network of one test's own: a bridge and a subnet that nothing else on the machine has."""
import ipaddress
import json
import os
import random
import shlex
import subprocess

from harness import leaks

PLUGIN_DIRS = ["/opt/cni/bin", "/usr/lib/cni"]


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=False).stdout


def links():
    return json.loads(run("ip", "-j", "link") or "[]")


def _free_subnet():
    taken = [ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
             for link in json.loads(run("ip", "-j", "-4", "addr") or "[]")
             for address in link.get("addr_info", [])]
    while True:
        candidate = ipaddress.ip_network(
            f"10.{random.randint(100, 250)}.{random.randint(0, 255)}.0/24")
        if not any(candidate.overlaps(used) for used in taken):
            return candidate


class ScratchNetwork:
    """CNI configuration in `folder`/net.d: bridge (gateway, masquerade, host-local), portmap, bandwidth."""

    def __init__(self, folder, version="1.0.0", plugins=None):
        self.subnet = _free_subnet()
        self.bridge = f"bt{random.getrandbits(32):08x}"
        self.folder = os.path.join(folder, "net.d")
        self.leases = os.path.join(folder, "ipam")
        self.name = f"net-{self.bridge}"
        os.makedirs(self.folder)
        self.write("10-scratch.conflist", {
            "cniVersion": version, "name": self.name,
            "plugins": plugins if plugins is not None else [
                {"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipMasq": True,
                 "hairpinMode": True,
                 "ipam": {"type": "host-local", "dataDir": self.leases,
                          "ranges": [[{"subnet": str(self.subnet)}]],
                          "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": True}},
                {"type": "bandwidth", "capabilities": {"bandwidth": True}},
            ]})

    def write(self, name, document):
        """Writes a configuration file as the CNI's users must: whole, by rename."""
        part = os.path.join(self.folder, "." + name)
        with open(part, "w", encoding="utf-8") as out:
            out.write(document if isinstance(document, str) else json.dumps(document, indent=1))
        os.rename(part, os.path.join(self.folder, name))

    def remove(self, name="10-scratch.conflist"):
        os.unlink(os.path.join(self.folder, name))

    def contains(self, address):
        return ipaddress.ip_address(address) in self.subnet

    def left_over(self):
        """What pods left behind: ports of the bridge, address leases, firewall rules."""
        left = [f"link {link['ifname']} is a port of {self.bridge}" for link in links()
                if link.get("master") == self.bridge]
        for folder, _, names in os.walk(self.leases):
            left += [f"address lease {os.path.join(folder, name)}" for name in names
                     if name != "lock" and not name.startswith("last_reserved_ip")]
        prefix = str(self.subnet.network_address).rsplit(".", 1)[0] + "."
        for program in ("iptables-save", "iptables-legacy-save"):
            left += [f"{program}: {line}" for line in run(program).splitlines()
                     if prefix in line or self.name in line]
        return left

    def close(self):
        subprocess.run(["ip", "link", "del", self.bridge], stderr=subprocess.DEVNULL, check=False)
        # Rules that should not be there any more must at least not disturb what comes later.
        self.remove_rules()

    def remove_rules(self):
        """Takes away firewall rules that carry this network's name, and the chains of plugins that they were in."""
        chains = set()
        for line in run("iptables-save", "-t", "nat").splitlines():
            if self.name in line and line.startswith("-A "):
                subprocess.run(["iptables", "-t", "nat", "-D", *shlex.split(line)[1:]],
                               stderr=subprocess.DEVNULL, check=False)
                chains.add(line.split()[1])
        for chain in chains:
            if chain.startswith("CNI-") and chain not in leaks.PERMANENT_CHAINS:
                subprocess.run(["iptables", "-t", "nat", "-X", chain], stderr=subprocess.DEVNULL, check=False)

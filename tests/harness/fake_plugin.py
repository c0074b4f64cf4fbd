"""CNI plugins of a test's own: shell scripts that note what they were called with."""
import json
import os

from harness import network


def fake_plugin(daemon, name, script):
    """A CNI plugin of our own; it appends what it was called with to the file calls, one JSON line each time."""
    folder = f"{daemon.base}/plugins"
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/{name}"
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"""#!/bin/sh
input=$(cat)
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}}'
  exit 0
fi
jq -n -c --arg command "$CNI_COMMAND" --arg id "$CNI_CONTAINERID" --arg netns "$CNI_NETNS" --arg ifname "$CNI_IFNAME" \\
  --arg args "$CNI_ARGS" --argjson config "$input" '$ARGS.named' >> {folder}/calls
{script}
""")
    os.chmod(path, 0o755)
    daemon.options.setdefault("network", {})["plugin_dirs"] = [folder, *network.PLUGIN_DIRS]
    # The configuration was written before this plugin existed.
    for name in ("registries.conf.d", "certs.d"):
        os.makedirs(f"{daemon.base}/{name}", exist_ok=True)
    daemon.write_configuration()


def calls(daemon):
    """What the plugins were called with so far."""
    try:
        with open(f"{daemon.base}/plugins/calls", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []


RESULT = """
if [ "$CNI_COMMAND" = ADD ]; then
  echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.8.7/24"}],"interfaces":[]}'
fi"""


def with_plugin(scratch, script, extra=None, version="1.0.0", **members):
    """A daemon whose network "fakenet" is one plugin of our own; `members` are further ones of its conflist."""
    daemon = scratch(wait=False)
    fake_plugin(daemon, "fake", script)
    daemon.network.write("10-scratch.conflist", {
        "cniVersion": version, "name": "fakenet", **members, "plugins": [
            {"type": "fake", "capabilities": {"portMappings": True, "bandwidth": True}, "setting": "kept"},
            *(extra or [])]})
    daemon.start()
    return daemon

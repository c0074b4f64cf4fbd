"""Writes registries.conf (version 2) files that send well-known registry names to a loopback one."""

PUBLIC = ("docker.io", "registry.k8s.io", "k8s.gcr.io", "gcr.io")


def _quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def entry(prefix="", location="", insecure=False, blocked=False, mirrors=()):
    """One [[registry]] table; `mirrors` are (location, insecure) pairs."""
    lines = ["[[registry]]"]
    if prefix:
        lines.append(f"prefix = {_quote(prefix)}")
    if location:
        lines.append(f"location = {_quote(location)}")
    if insecure:
        lines.append("insecure = true")
    if blocked:
        lines.append("blocked = true")
    for mirror, mirror_insecure in mirrors:
        lines += ["[[registry.mirror]]", f"location = {_quote(mirror)}"]
        if mirror_insecure:
            lines.append("insecure = true")
    return "\n".join(lines) + "\n"


def redirect(host, names=PUBLIC, insecure=True):
    """Each name served by `host` under a folder of that name; `host` itself is plain HTTP too."""
    text = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n\n'
    for name in names:
        text += entry(prefix=name, location=f"{host}/{name}", insecure=insecure) + "\n"
    return text + entry(location=host, insecure=insecure)

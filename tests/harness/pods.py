"""Pods and containers as tests want to say them: `daemon.run_pod().run("busybox", ["echo", "hi"])`."""
import dataclasses
import datetime
import itertools
import json
import os
import re
import time

from harness import cri

pb = cri.pb

BUSYBOX = "docker.io/library/busybox:latest"
NODE, POD, CONTAINER, TARGET = pb.NODE, pb.POD, pb.CONTAINER, pb.TARGET
_numbers = itertools.count(1)

LOG_LINE = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP]) (.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class LogLine:
    stamp: str
    stream: str
    tag: str
    text: bytes

    @property
    def time(self):
        """When it was read, to the microsecond."""
        main, fraction, zone = re.fullmatch(r"(.*)\.(\d+)(Z|[+-].*)", self.stamp).groups()
        return datetime.datetime.fromisoformat(
            f"{main}.{fraction[:6]:0<6}{zone.replace('Z', '+00:00')}")


def parse_log(data):
    """The lines of a CRI log; a line that is not in the format is an error."""
    out = []
    for line in data.split(b"\n")[:-1]:
        match = LOG_LINE.fullmatch(line)
        assert match, f"not a CRI log line: {line!r}"
        out.append(LogLine(match[1].decode(), match[2].decode(), match[3].decode(), match[4]))
    assert data == b"" or data.endswith(b"\n"), f"the log ends in the middle of a line: {data[-80:]!r}"
    return out


def pod_config(daemon, name=None, namespace="default", uid=None, attempt=0, pid=None, ipc=None, network=None,
               userns=None, privileged=False, port_mappings=(), dns=None, sysctls=None, **fields):
    """A PodSandboxConfig; `pid`, `ipc`, `network` are namespace modes, other keywords its own fields."""
    number = next(_numbers)
    name = f"pod{number}" if name is None else name
    options = pb.NamespaceOption(pid=CONTAINER if pid is None else pid, ipc=POD if ipc is None else ipc,
                                 network=POD if network is None else network)
    if userns:
        options.userns_options.CopyFrom(userns)
    if "log_directory" not in fields:
        fields["log_directory"] = os.path.join(daemon.logs, f"{name}-{number}")
        os.makedirs(fields["log_directory"], exist_ok=True)
    # The host's name is the pod's when it has the host's network.
    fields.setdefault("hostname", "" if network == NODE else name[:63])
    linux = pb.LinuxPodSandboxConfig(
        cgroup_parent=fields.pop("cgroup_parent", daemon.cgroup_parent), sysctls=sysctls or {},
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=options, privileged=privileged))
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=name, namespace=namespace, attempt=attempt,
                                       uid=f"uid-{daemon.token}-{number}" if uid is None else uid),
        linux=linux, port_mappings=[pb.PortMapping(**mapping) for mapping in port_mappings],
        dns_config=pb.DNSConfig(**dns) if dns else None, **fields)


def container_config(pod, image=BUSYBOX, command=(), args=(), name=None, attempt=0, env=None, mounts=(),
                     resources=None, security=None, namespaces=None, **fields):
    """A ContainerConfig; `security` and `resources` are dicts of fields, `env` a dict, mounts dicts."""
    name = f"c{next(_numbers)}" if name is None else name
    fields.setdefault("log_path", f"{name}.{attempt}.log")
    own = dict(security or {})
    if "namespace_options" not in own:
        options = pb.NamespaceOption()
        options.CopyFrom(pod.config.linux.security_context.namespace_options)
        for kind, mode in (namespaces or {}).items():
            setattr(options, kind, mode)
        own["namespace_options"] = options
    for key in ("run_as_user", "run_as_group"):
        if isinstance(own.get(key), int):
            own[key] = pb.Int64Value(value=own[key])
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=name, attempt=attempt),
        image=pb.ImageSpec(image=image, user_specified_image=image), command=list(command),
        args=list(args), envs=[pb.KeyValue(key=key, value=_value(value)) for key, value in (env or {}).items()],
        mounts=[pb.Mount(**mount) for mount in mounts],
        linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(**(resources or {})),
                                      security_context=pb.LinuxContainerSecurityContext(**own)),
        **fields)


def _value(text):
    """An environment value for this interface: bytes since cri-api 0.37, text before."""
    kind = pb.KeyValue.DESCRIPTOR.fields_by_name["value"]
    raw = text.encode() if isinstance(text, str) else text
    return raw if kind.type == kind.TYPE_BYTES else raw.decode()


class Container:
    def __init__(self, pod, config, container_id):
        self.pod, self.config, self.id = pod, config, container_id
        self.client_of = pod.daemon

    @property
    def client(self):
        return self.client_of.client

    def start(self):
        self.client.StartContainer(container_id=self.id)
        return self

    def stop(self, timeout=10):
        self.client.StopContainer(pb.StopContainerRequest(container_id=self.id, timeout=timeout))

    def remove(self):
        self.client.RemoveContainer(container_id=self.id)

    def status(self):
        return self.client.ContainerStatus(container_id=self.id).status

    def info(self):
        """The verbose status: a dict of texts."""
        return dict(self.client.ContainerStatus(container_id=self.id, verbose=True).info)

    def host_pid(self):
        """Its first process, as the host counts."""
        return json.loads(self.info()["info"])["pid"]

    def host_root(self):
        """A path of the host that is the running container's root folder."""
        return f"/proc/{self.host_pid()}/root"

    def wait_exited(self, seconds=30):
        """Waits for the container's end; returns its final status."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            if status.state == pb.CONTAINER_EXITED:
                return status
            assert time.monotonic() < deadline, f"container did not exit in {seconds} s: {status}"
            time.sleep(0.02)

    def exec(self, command, timeout=30, seconds=120):
        """ExecSync; returns its response. `seconds` is the call's own deadline."""
        request = pb.ExecSyncRequest(container_id=self.id, cmd=list(command), timeout=timeout)
        return self.client.ExecSync(request, timeout=seconds)

    def output(self, command):
        """What a command in the container prints; it must succeed."""
        response = self.exec(command)
        assert response.exit_code == 0, f"{command}: {response}"
        return response.stdout.decode("utf-8", "surrogateescape")

    def shell(self, script):
        return self.output(["sh", "-c", script])

    @property
    def log_path(self):
        return os.path.join(self.pod.config.log_directory, self.config.log_path)

    def log(self):
        with open(self.log_path, "rb") as log:
            return parse_log(log.read())

    def log_text(self, stream=""):
        """What the log holds of one stream (or both), with partial lines joined."""
        return b"".join(line.text + (b"\n" if line.tag == "F" else b"") for line in self.log()
                        if stream in ("", line.stream))

    def wait_log(self, text, seconds=20):
        """Waits until the log contains `text` (bytes)."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                content = self.log_text()
            except (FileNotFoundError, AssertionError):
                content = b""
            if text in content:
                return content
            assert time.monotonic() < deadline, f"{text!r} is not in the log: {content[-2000:]!r}"
            time.sleep(0.02)


class Pod:
    def __init__(self, daemon, config, pod_id, handler=""):
        self.daemon, self.config, self.id, self.handler = daemon, config, pod_id, handler

    @classmethod
    def run(cls, daemon, runtime_handler="", config=None, **fields):
        config = config or pod_config(daemon, **fields)
        pod_id = daemon.client.RunPodSandbox(config=config, runtime_handler=runtime_handler).pod_sandbox_id
        daemon.ids.add(pod_id)
        return cls(daemon, config, pod_id, runtime_handler)

    @property
    def client(self):
        return self.daemon.client

    def status(self):
        return self.client.PodSandboxStatus(pod_sandbox_id=self.id).status

    def info(self):
        return dict(self.client.PodSandboxStatus(pod_sandbox_id=self.id, verbose=True).info)

    @property
    def address(self):
        return self.status().network.ip

    def create(self, image=BUSYBOX, command=(), config=None, **fields):
        """Makes a container (the image is pulled when it is not there) and does not start it."""
        if config is None:
            self.daemon.need(image)
            config = container_config(self, image, command, **fields)
        container_id = self.client.CreateContainer(pod_sandbox_id=self.id, config=config,
                                                   sandbox_config=self.config).container_id
        self.daemon.ids.add(container_id)
        return Container(self, config, container_id)

    def run_container(self, image=BUSYBOX, command=("sleep", "1000"), **fields):
        return self.create(image, command, **fields).start()

    def stop(self):
        self.client.StopPodSandbox(pod_sandbox_id=self.id)

    def remove(self):
        self.client.RemovePodSandbox(pod_sandbox_id=self.id)

"""GetContainerEvents: who is told what, and when; and the lists that come as streams."""
import contextlib
import json
import os
import signal
import threading
import time

import grpc
import pytest

from harness import cri, leaks, pods
from harness.cri import pb

pytestmark = [pytest.mark.berth, pytest.mark.uml]
CREATED, STARTED = pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT
STOPPED, DELETED = pb.CONTAINER_STOPPED_EVENT, pb.CONTAINER_DELETED_EVENT


class Watcher:
    """A subscriber with a connection of its own, which collects what it is told."""

    def __init__(self, daemon, read=True):
        self.client = cri.Client(daemon.socket)
        self.call = self.client.GetContainerEvents(timeout=None)
        self.events, self.end, self.why = [], None, ""
        self.changed = threading.Condition()
        self.call.initial_metadata()    # comes when the subscription is there
        self.thread = threading.Thread(target=self._collect, daemon=True)
        if read:
            self.thread.start()

    def _collect(self):
        try:
            for event in self.call:
                with self.changed:
                    self.events.append(event)
                    self.changed.notify_all()
        except grpc.RpcError as error:
            with self.changed:
                self.end, self.why = error.code(), error.details()
                self.changed.notify_all()

    def wait(self, wanted, seconds=20):
        """Waits until these (id, type) have come, in this order and with nothing between; returns the events."""
        def there():
            return [(event.container_id, event.container_event_type) for event in self.events] == wanted
        with self.changed:
            assert self.changed.wait_for(lambda: there() or len(self.events) > len(wanted), seconds) and there(), \
                f"wanted {wanted}, got {[(e.container_id, e.container_event_type) for e in self.events]}"
            events, self.events = self.events, []
        return events

    def wait_end(self, seconds=5):
        with self.changed:
            assert self.changed.wait_for(lambda: self.end is not None, seconds), "the stream did not end"
        return self.end

    def close(self):
        self.call.cancel()
        if self.thread.ident:
            self.thread.join(10)
        self.client.close()


@pytest.fixture
def watch(daemon):
    with contextlib.ExitStack() as stack:
        def make(**fields):
            watcher = Watcher(daemon, **fields)
            stack.callback(watcher.close)
            return watcher
        yield make


def test_the_life_of_a_pod_and_its_container(daemon, watch):
    daemon.need(pods.BUSYBOX)
    watcher, other = watch(), watch()
    before = time.time_ns()
    pod = daemon.run_pod(labels={"a": "b"})
    container = pod.create(command=["sleep", "1000"])
    container.start()
    container.stop(timeout=0)
    container.remove()
    pod.stop()
    pod.remove()
    events = watcher.wait([(pod.id, CREATED), (pod.id, STARTED), (container.id, CREATED), (container.id, STARTED),
                           (container.id, STOPPED), (container.id, DELETED), (pod.id, STOPPED), (pod.id, DELETED)])
    times = [event.created_at for event in events]
    assert times == sorted(times) and before < times[0] and times[-1] < time.time_ns()
    for event in events:
        status = event.pod_sandbox_status
        assert status.id == pod.id
        assert status.metadata == pod.config.metadata
        assert dict(status.labels) == {"a": "b"}
        assert [item.id for item in event.containers_statuses] in ([], [container.id])
    states = [event.pod_sandbox_status.state for event in events]
    assert states == [pb.SANDBOX_READY] * 6 + [pb.SANDBOX_NOTREADY] * 2
    assert daemon.network.contains(events[0].pod_sandbox_status.network.ip)
    assert [[item.state for item in event.containers_statuses] for event in events] == [
        [], [], [pb.CONTAINER_CREATED], [pb.CONTAINER_RUNNING], [pb.CONTAINER_EXITED], [], [], []]
    assert events[4].containers_statuses[0].exit_code == 137
    assert [str(event) for event in other.wait([(e.container_id, e.container_event_type) for e in events])] == \
        [str(event) for event in events]


def test_an_event_carries_all_containers_of_its_pod_and_no_others(daemon, watch):
    other = daemon.run_pod(network=pods.NODE)
    other.run_container()
    pod = daemon.run_pod(network=pods.NODE)
    first = pod.run_container()
    watcher = watch()
    second = pod.run_container(command=["sh", "-c", "exit 3"])
    event = watcher.wait([(second.id, CREATED), (second.id, STARTED), (second.id, STOPPED)])[-1]
    statuses = {status.id: status for status in event.containers_statuses}
    assert set(statuses) == {first.id, second.id}
    assert statuses[first.id].state == pb.CONTAINER_RUNNING
    assert (statuses[second.id].state, statuses[second.id].exit_code) == (pb.CONTAINER_EXITED, 3)
    assert statuses[second.id] == second.status()


def test_a_container_that_ends_at_once_starts_before_it_stops(daemon, watch):
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    watcher = watch()
    for _ in range(5):
        container = pod.run_container(command=["true"])
        watcher.wait([(container.id, CREATED), (container.id, STARTED), (container.id, STOPPED)])


def test_a_start_that_fails_stops(daemon, watch, tmp_path):
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.create(command=["sleep", "1"])
    watcher = watch()
    # The runtime has nothing any more that it could start.
    os.kill(container.host_pid(), signal.SIGKILL)
    try:
        container.start()
    except grpc.RpcError:
        pass
    watcher.wait([(container.id, STOPPED)])
    assert container.status().state == pb.CONTAINER_EXITED


def test_stopping_a_pod_tells_of_its_containers_first(daemon, watch):
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container()
    watcher = watch()
    pod.remove()
    event = watcher.wait([(container.id, STOPPED), (pod.id, STOPPED), (container.id, DELETED), (pod.id, DELETED)])[1]
    assert [status.state for status in event.containers_statuses] == [pb.CONTAINER_EXITED]
    pod.remove()
    pod.stop()
    time.sleep(0.3)
    assert not watcher.events, "what is gone already happened again"


def test_a_pause_that_is_killed(daemon, watch):
    pod = daemon.run_pod(network=pods.NODE)
    watcher = watch()
    os.kill(json.loads(pod.info()["info"])["pid"], signal.SIGKILL)
    event, = watcher.wait([(pod.id, STOPPED)])
    assert event.pod_sandbox_status.state == pb.SANDBOX_NOTREADY
    pod.stop()
    pod.remove()
    watcher.wait([(pod.id, DELETED)])


def test_the_stream_ends_with_its_caller(daemon, watch):
    before = leaks.threads(daemon.pid)
    watchers = [watch() for _ in range(20)]
    assert leaks.threads(daemon.pid) >= before + 10
    for watcher in watchers[:10]:
        watcher.call.cancel()
    for watcher in watchers[10:]:
        watcher.client.close()
    left = leaks.settle(lambda: max(0, leaks.threads(daemon.pid) - before - 4), 5)
    assert not left, f"{left} threads still serve streams whose callers are gone"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_stream_ends_with_the_daemon(scratch, end):
    daemon = scratch()
    watchers = [Watcher(daemon), Watcher(daemon)]
    idle = Watcher(daemon, read=False)
    start = time.monotonic()
    daemon.stop(end)
    assert time.monotonic() - start < 3
    for watcher in watchers:
        assert watcher.wait_end() == grpc.StatusCode.UNAVAILABLE
        # It is told, and not only cut off when the daemon's patience with its requests ends.
        assert end == signal.SIGKILL or "berthd is stopping" in watcher.why
        watcher.close()
    idle.close()
    daemon.start()
    watcher = Watcher(daemon)
    pod = daemon.run_pod(network=pods.NODE)
    watcher.wait([(pod.id, CREATED), (pod.id, STARTED)])
    watcher.close()


def test_exits_found_at_a_restart_are_in_the_status_and_no_event(scratch):
    daemon = scratch()
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container()
    pid = container.host_pid()
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    daemon.start()
    watcher = Watcher(daemon)
    assert container.wait_exited().exit_code == 137
    container.remove()
    watcher.wait([(container.id, DELETED)])
    watcher.close()


@pytest.mark.slow
def test_a_stuck_subscriber_harms_nobody(scratch):
    """It never reads: first the connection fills, then its queue, then it loses the oldest."""
    daemon = scratch()
    pod = daemon.run_pod(network=pods.NODE, annotations={"big": "x" * 200_000})
    daemon.need(pods.BUSYBOX)
    stuck, reader = Watcher(daemon, read=False), Watcher(daemon)
    number = 0
    deadline = time.monotonic() + 240
    while "does not keep up" not in daemon.log():
        container = pod.create(command=["true"])
        container.remove()
        reader.wait([(container.id, CREATED), (container.id, STOPPED), (container.id, DELETED)])
        number += 3
        assert time.monotonic() < deadline, f"{number} events, and none was dropped"
    assert number > 1000
    assert daemon.log().count("does not keep up") == 1
    stuck.close()
    reader.close()


def test_the_status_of_a_pod_carries_its_containers(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    other = daemon.run_pod(network=pods.NODE)
    other.run_container()
    assert not daemon.client.PodSandboxStatus(pod_sandbox_id=pod.id).containers_statuses
    first, second = pod.run_container(), pod.create()
    before = time.time_ns()
    answer = daemon.client.PodSandboxStatus(pod_sandbox_id=pod.id)
    assert before < answer.timestamp < time.time_ns()
    assert [status.id for status in answer.containers_statuses] == [second.id, first.id]
    assert answer.containers_statuses[1] == first.status()


# Lists as streams

def parts(call):
    """The items of a stream's messages, each of which must have some."""
    out = []
    for message in call:
        items = list(getattr(message, message.DESCRIPTOR.fields[0].name))
        assert items, "an empty message"
        out += items
    return out


def test_streams_are_the_lists(daemon):
    client = daemon.client
    assert parts(client.StreamPodSandboxes()) == [] and parts(client.StreamContainers()) == []
    one = daemon.run_pod(network=pods.NODE, labels={"app": "a"})
    two = daemon.run_pod(network=pods.NODE, labels={"app": "b"})
    two.stop()
    made = [one.run_container(labels={"x": str(n)}) for n in range(3)]
    made[0].stop(timeout=0)
    for filter in (None, pb.PodSandboxFilter(id=one.id[:13]), pb.PodSandboxFilter(label_selector={"app": "b"}),
                   pb.PodSandboxFilter(id="f" * 64),
                   pb.PodSandboxFilter(state=pb.PodSandboxStateValue(state=pb.SANDBOX_READY))):
        assert parts(client.StreamPodSandboxes(filter=filter)) == list(client.ListPodSandbox(filter=filter).items)
    for filter in (None, pb.ContainerFilter(id=made[0].id), pb.ContainerFilter(pod_sandbox_id=one.id[:13]),
                   pb.ContainerFilter(pod_sandbox_id=two.id), pb.ContainerFilter(label_selector={"x": "1"}),
                   pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.CONTAINER_EXITED))):
        assert parts(client.StreamContainers(filter=filter)) == \
            list(client.ListContainers(filter=filter).containers)
    image = pb.ImageFilter(image=pb.ImageSpec(image=pods.BUSYBOX))
    for filter in (None, image, pb.ImageFilter(image=pb.ImageSpec(image="docker.io/none/such:1"))):
        assert parts(client.StreamImages(filter=filter)) == list(client.ListImages(filter=filter).images)
    assert len(parts(client.StreamImages(filter=image))) == 1


def test_a_bad_filter_is_refused_by_streams_too(any_daemon):
    for call in (lambda: any_daemon.client.StreamPodSandboxes(
            filter=pb.PodSandboxFilter(state=pb.PodSandboxStateValue(state=77))),
            lambda: any_daemon.client.StreamContainers(
                filter=pb.ContainerFilter(state=pb.ContainerStateValue(state=77))),
            lambda: any_daemon.client.StreamImages(
                filter=pb.ImageFilter(image=pb.ImageSpec(image="UPPER//case")))):
        with pytest.raises(grpc.RpcError) as error:
            parts(call())
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_list_larger_than_a_message_comes_in_parts(scratch):
    daemon = scratch()
    for _ in range(8):
        daemon.run_pod(network=pods.NODE, annotations={"big": "x" * 200_000})
    sizes = [len(message.pod_sandboxes) for message in daemon.client.StreamPodSandboxes()]
    assert sum(sizes) == 8 and len(sizes) > 1, sizes

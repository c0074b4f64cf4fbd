"""Random requests from several callers at once, with the daemon killed and restarted between and during them.

Each worker has pods of its own and a model of them; the model says what an answer, a status or a list may be. A request
that is cut off (by its own short deadline or by the daemon's end) may have happened wholly, in part or not at all: states
only go forward, so what may be is everything from the state before to the one asked for. Events are followed too.

BERTH_RANDOM_SEED repeats a run's choices (threads and time do the rest); BERTH_RANDOM_STEPS runs that many steps instead
of a minute.
"""
import enum
import os
import random
import signal
import threading
import time
import traceback

import grpc
import pytest

from harness import cri, pods
from harness.cri import pb

pytestmark = [pytest.mark.berth, pytest.mark.slow]
SECONDS = 60
WORKERS = 4
PODS, CONTAINERS = 3, 3    # the most that a worker has, the latter in each pod
LOOP = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"


class S(enum.IntEnum):
    """States in the order in which anything goes through them."""
    CREATED, RUNNING, EXITED, GONE = range(4)
    READY, NOTREADY = 1, 2


CONTAINER_STATE = {pb.CONTAINER_CREATED: S.CREATED, pb.CONTAINER_RUNNING: S.RUNNING, pb.CONTAINER_EXITED: S.EXITED}
POD_STATE = {pb.SANDBOX_READY: S.READY, pb.SANDBOX_NOTREADY: S.NOTREADY}


class CutOff(Exception):
    """Nobody knows what became of a request."""


class Thing:
    """A pod or container: `low` to `high` is what its state may be; equal when it is known."""

    def __init__(self, config, state):
        self.config, self.id = config, ""
        self.low = self.high = state

    def at(self, state):
        self.low = self.high = S(state)

    def up_to(self, state):
        """A request that would bring it to `state` was cut off."""
        self.high = max(self.high, state)

    def seen(self, state):
        assert self.low <= state <= self.high, f"{self.id[:12]} is {state!r}, not {self.low!r} to {self.high!r}"
        self.low = state


class Container(Thing):
    def __init__(self, config, code):
        super().__init__(config, S.GONE)
        self.code = code          # it ends by itself with this; None: it does not
        self.killed = False       # it was asked to end

    def started(self):
        self.low, self.high = S.RUNNING, (S.RUNNING if self.code is None else S.EXITED)

    def may_end(self):
        """Whether it may end at any time, without a request."""
        return self.killed or (self.code is not None and self.low == S.RUNNING)

    def check(self, status):
        self.seen(CONTAINER_STATE[status.state])
        assert status.created_at > 0
        assert (status.finished_at != 0) == (status.state == pb.CONTAINER_EXITED), status
        if status.state == pb.CONTAINER_EXITED:
            assert status.created_at <= status.started_at <= status.finished_at or status.started_at == 0, status
            allowed = {self.code} if self.code is not None else set()
            if self.killed:
                allowed |= {0, 137, 143}
            assert status.exit_code in allowed, status


class Pod(Thing):
    def __init__(self, config, handler):
        super().__init__(config, S.GONE)
        self.request = {"config": config, "runtime_handler": handler}
        self.containers = []


class World:
    """The daemon, and when it is away."""

    def __init__(self, daemon, rng, steps):
        self.daemon, self.rng = daemon, rng
        self.steps = steps
        self.end = time.monotonic() + (SECONDS if not steps else 36000)
        self.up = threading.Event()
        self.up.set()
        self.lives = 1
        self.done = 0
        self.lock = threading.Lock()
        self.troubles = []

    def running(self):
        if self.troubles or time.monotonic() > self.end:
            return False
        with self.lock:
            self.done += 1
            return not self.steps or self.done <= self.steps

    def restart(self):
        number = self.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        self.up.clear()
        self.daemon.process.send_signal(number)
        self.daemon.process.wait(40)
        time.sleep(self.rng.choice([0, 0, 0.5]))
        self.daemon.start()
        self.lives += 1
        self.up.set()


class Worker:
    def __init__(self, world, number, rng):
        self.world, self.number, self.rng = world, number, rng
        self.client = cri.Client(world.daemon.socket)
        self.pods = []
        self.names = 0
        self.history = []

    # -- requests

    def call(self, method, *args, timeout=90, **fields):
        """An RPC; CutOff when its own short deadline or the daemon's end came first."""
        self.world.up.wait()
        life = self.world.lives
        try:
            return method(*args, timeout=timeout, **fields)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and timeout < 5:
                raise CutOff from error
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                deadline = time.monotonic() + 1
                while time.monotonic() < deadline:
                    if not self.world.up.is_set() or self.world.lives != life:
                        self.world.up.wait()
                        raise CutOff from error
                    time.sleep(0.02)
            raise

    def surely(self, method, *args, **fields):
        """For requests that may be repeated: until one is not cut off."""
        while True:
            try:
                return self.call(method, *args, **fields)
            except CutOff:
                pass

    def refused(self, codes, method, *args, **fields):
        try:
            self.call(method, *args, **fields)
        except CutOff:
            return
        except grpc.RpcError as error:
            assert error.code() in codes, error
            return
        raise AssertionError(f"{method} should have been refused")

    def some(self, things, *states):
        """One of those that are known to be in one of the states (of all, if there are none), or None."""
        fit = [thing for thing in things if not states or (thing.low == thing.high and thing.low in states)]
        return self.rng.choice(fit) if fit else None

    def all_containers(self):
        return [container for pod in self.pods for container in pod.containers]

    def deadline(self):
        """Mostly patient; now and then so short that the request is cut off somewhere."""
        return self.rng.choice([90, 90, 90, 0.01, 0.05, 0.1, 0.3])

    # -- what the daemon says

    def reconcile(self):
        """Looks at everything of this worker, and takes what is seen for what is."""
        mine = {"worker": str(self.number)}
        listed = self.surely(self.client.ListPodSandbox, filter=pb.PodSandboxFilter(label_selector=mine)).items
        boxes = self.surely(self.client.ListContainers, filter=pb.ContainerFilter(label_selector=mine)).containers
        for known, found, states in ((self.pods, listed, POD_STATE), (self.all_containers(), boxes, CONTAINER_STATE)):
            by_id = {item.id: item for item in found}
            assert len(by_id) == len(found), "listed twice"
            for thing in known:
                item = by_id.pop(thing.id, None)
                if item is None and not thing.id:    # its making was cut off; does it exist under its name?
                    item = next((item for item in by_id.values() if item.metadata == thing.config.metadata), None)
                    if item is not None:
                        thing.id = item.id
                        self.world.daemon.ids.add(item.id)
                        del by_id[item.id]
                        thing.low = min(thing.low, states[item.state])
                thing.seen(S.GONE if item is None else states[item.state])
                if thing.low == S.GONE or isinstance(thing, Pod):
                    thing.high = thing.low
            assert not by_id, f"nobody made {list(by_id.values())}"
        for pod in self.pods:
            for container in pod.containers:
                assert pod.low != S.GONE or container.low == S.GONE, "a container in a pod that is gone"
            pod.containers = [container for container in pod.containers if container.low != S.GONE]
        self.pods = [pod for pod in self.pods if pod.low != S.GONE]
        for container in self.all_containers():
            container.check(self.surely(self.client.ContainerStatus, container_id=container.id).status)
            if container.low == S.EXITED or not container.may_end():
                container.high = container.low
            else:
                container.high = S.EXITED

    # -- steps

    def run_pod(self):
        if len(self.pods) >= PODS:
            return
        config = pods.pod_config(
            self.world.daemon, network=self.rng.choice([pods.NODE, pods.NODE, pods.POD]),
            pid=self.rng.choice([pods.CONTAINER, pods.POD]), labels={"worker": str(self.number)})
        pod = Pod(config, self.rng.choice(["", "", "runc"]))
        pod.low = S.READY
        pod.high = S.GONE
        self.pods.append(pod)
        try:
            pod.id = self.call(self.client.RunPodSandbox, timeout=self.deadline(), **pod.request).pod_sandbox_id
        except CutOff:
            # The kubelet's way: the same request again, until there is an answer.
            pod.id = self.surely(self.client.RunPodSandbox, **pod.request).pod_sandbox_id
        self.world.daemon.ids.add(pod.id)
        pod.at(S.READY)

    def run_pod_again(self):
        if pod := self.some(self.pods, S.READY):
            assert self.surely(self.client.RunPodSandbox, **pod.request).pod_sandbox_id == pod.id

    def stop_pod(self):
        if pod := self.some(self.pods, S.READY, S.NOTREADY):
            self.end_of(pod, S.NOTREADY, S.EXITED, self.client.StopPodSandbox)

    def remove_pod(self):
        if pod := self.some(self.pods, S.READY, S.NOTREADY):
            self.end_of(pod, S.GONE, S.GONE, self.client.RemovePodSandbox)

    def end_of(self, pod, pod_state, container_state, method):
        pod.up_to(pod_state)
        for container in pod.containers:
            container.up_to(container_state)
            container.killed = True
        try:
            self.call(method, pod_sandbox_id=pod.id, timeout=self.deadline())
        except CutOff:
            self.surely(method, pod_sandbox_id=pod.id)
        pod.at(max(pod.low, pod_state))
        for container in pod.containers:
            container.at(max(container.low, container_state))

    def new_container(self, pod):
        code = self.rng.choice([None, None, 0, 7])
        self.names += 1
        command = ["sh", "-c", LOOP if code is None else f"sleep {self.rng.choice([0, 0.3, 2])}; exit {code}"]
        return Container(pods.container_config(pod, command=command, name=f"c{self.names}",
                                               labels={"worker": str(self.number)}), code)

    def create(self):
        pod = self.some(self.pods, S.READY)
        if pod is None or len(pod.containers) >= CONTAINERS:
            return
        container = self.new_container(pod)
        container.low, container.high = S.CREATED, S.GONE
        pod.containers.append(container)
        request = {"pod_sandbox_id": pod.id, "config": container.config, "sandbox_config": pod.config}
        try:
            answer = self.call(self.client.CreateContainer, timeout=self.deadline(), **request)
        except CutOff:
            answer = self.surely(self.client.CreateContainer, **request)
        container.id = answer.container_id
        self.world.daemon.ids.add(container.id)
        container.at(S.CREATED)
        assert self.surely(self.client.CreateContainer, **request).container_id == container.id

    def create_in_a_stopped_pod(self):
        if pod := self.some(self.pods, S.NOTREADY):
            self.refused([grpc.StatusCode.FAILED_PRECONDITION], self.client.CreateContainer, pod_sandbox_id=pod.id,
                         config=self.new_container(pod).config, sandbox_config=pod.config)

    def create_while_the_pod_goes(self):
        pod = self.some(self.pods, S.READY)
        if pod is None:
            return
        container = self.new_container(pod)
        call = self.client.CreateContainer.future(pod_sandbox_id=pod.id, config=container.config,
                                                  sandbox_config=pod.config)
        time.sleep(self.rng.choice([0, 0.02, 0.05, 0.1]))
        self.end_of(pod, S.GONE, S.GONE, self.client.RemovePodSandbox)
        try:
            self.world.daemon.ids.add(call.result().container_id)
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND,
                                    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error

    def start(self):
        if container := self.some(self.all_containers(), S.CREATED):
            container.up_to(S.EXITED if container.code is not None else S.RUNNING)
            self.call(self.client.StartContainer, container_id=container.id)
            container.started()

    def start_again(self):
        if container := self.some(self.all_containers(), S.RUNNING, S.EXITED):
            self.refused([grpc.StatusCode.FAILED_PRECONDITION], self.client.StartContainer, container_id=container.id)

    def stop(self):
        if container := self.some(self.all_containers()):
            container.up_to(S.EXITED)
            container.killed = True
            request = pb.StopContainerRequest(container_id=container.id, timeout=self.rng.choice([0, 1, 20]))
            try:
                self.call(self.client.StopContainer, request, timeout=self.deadline())
            except CutOff:
                return    # it may end at any time now
            container.at(S.EXITED)

    def remove(self):
        if container := self.some(self.all_containers()):
            container.up_to(S.GONE)
            container.killed = True
            try:
                self.call(self.client.RemoveContainer, container_id=container.id, timeout=self.deadline())
            except CutOff:
                self.surely(self.client.RemoveContainer, container_id=container.id)
            container.at(S.GONE)

    def execute(self):
        container = self.some(self.all_containers(), S.RUNNING)
        if container is not None and container.code is None and not container.killed:
            text = str(self.rng.random())
            request = pb.ExecSyncRequest(container_id=container.id, cmd=["echo", text], timeout=60)
            answer = self.call(self.client.ExecSync, request)
            assert (answer.exit_code, answer.stdout) == (0, text.encode() + b"\n"), answer
        elif container := self.some(self.all_containers(), S.CREATED, S.EXITED):
            self.refused([grpc.StatusCode.FAILED_PRECONDITION], self.client.ExecSync,
                         pb.ExecSyncRequest(container_id=container.id, cmd=["true"], timeout=60))

    def status(self):
        for pod in self.pods:
            if pod.id:
                answer = self.surely(self.client.PodSandboxStatus, pod_sandbox_id=pod.id)
                pod.seen(POD_STATE[answer.status.state])
                by_id = {container.id: container for container in pod.containers}
                for status in answer.containers_statuses:
                    by_id[status.id].check(status)

    STEPS = {run_pod: 6, run_pod_again: 2, stop_pod: 2, remove_pod: 3, create: 10, create_in_a_stopped_pod: 1,
             create_while_the_pod_goes: 2, start: 10, start_again: 1, stop: 4, remove: 4, execute: 5, status: 4}

    def run(self):
        try:
            while self.world.running():
                step, = self.rng.choices(list(self.STEPS), self.STEPS.values())
                self.history.append(step.__name__)
                try:
                    step(self)
                except CutOff:
                    self.history[-1] += " (cut off)"
                self.reconcile()
        except BaseException:
            self.world.troubles.append(f"worker {self.number} after {self.history[-12:]}:\n{traceback.format_exc()}")

    def finish(self):
        self.client.close()


class Follower:
    """Follows the events: what happens to anything happens in order, and at most once."""

    ORDER = [pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT, pb.CONTAINER_STOPPED_EVENT,
             pb.CONTAINER_DELETED_EVENT]

    def __init__(self, world):
        self.world, self.seen, self.count = world, {}, 0
        self.client = cri.Client(world.daemon.socket)
        self.call, self.stopped = None, False

    def run(self):
        while not self.stopped:
            self.world.up.wait()
            try:
                self.call = self.client.GetContainerEvents(timeout=None)
                for event in self.call:
                    self.check(event)
            except grpc.RpcError:
                time.sleep(0.05)    # the daemon is away, or the test is over
            except BaseException:
                self.world.troubles.append(f"events:\n{traceback.format_exc()}")
                return

    def check(self, event):
        self.count += 1
        step = self.ORDER.index(event.container_event_type)
        last = self.seen.get(event.container_id, -1)
        assert step > last, f"event {step} of {event.container_id[:12]} after {last}"
        self.seen[event.container_id] = step
        assert event.pod_sandbox_status.id, event
        here = {status.id: status.state for status in event.containers_statuses}
        if event.container_id != event.pod_sandbox_status.id:
            if event.container_event_type == pb.CONTAINER_DELETED_EVENT:
                assert event.container_id not in here
            elif event.container_event_type == pb.CONTAINER_STOPPED_EVENT:
                assert here[event.container_id] == pb.CONTAINER_EXITED
            else:
                assert event.container_id in here

    def finish(self):
        self.stopped = True
        if self.call:
            self.call.cancel()
        self.client.close()


def test_random_requests(scratch):
    seed = int(os.environ.get("BERTH_RANDOM_SEED") or random.SystemRandom().getrandbits(32))
    steps = int(os.environ.get("BERTH_RANDOM_STEPS") or 0)
    print(f"BERTH_RANDOM_SEED={seed}")
    rng = random.Random(seed)
    daemon = scratch()
    daemon.need(pods.BUSYBOX)
    daemon.run_pod().remove()    # two ADDs at once that both make the bridge are more than the plugin takes
    world = World(daemon, rng, steps)
    workers = [Worker(world, number, random.Random(rng.random())) for number in range(WORKERS)]
    follower = Follower(world)
    threads = [threading.Thread(target=worker.run) for worker in workers]
    following = threading.Thread(target=follower.run)
    for thread in [*threads, following]:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            deadline = time.monotonic() + rng.uniform(4, 12)
            while time.monotonic() < deadline and any(thread.is_alive() for thread in threads):
                time.sleep(0.1)
            if any(thread.is_alive() for thread in threads) and not world.troubles:
                world.restart()
    finally:
        world.up.set()
        for thread in threads:
            thread.join(120)
        follower.finish()
        following.join(30)
        for worker in workers:
            worker.finish()
    counts = {}
    for worker in workers:
        for step in worker.history:
            counts[step] = counts.get(step, 0) + 1
    print(f"{sum(counts.values())} steps in {world.lives} lives, {follower.count} events: {counts}")
    assert not world.troubles, f"BERTH_RANDOM_SEED={seed}\n" + "\n".join(world.troubles)
    assert follower.count > 0
    listed = {pod.id for pod in daemon.client.ListPodSandbox().items}
    assert listed == {pod.id for worker in workers for pod in worker.pods}
    # Runtimes that were killed in the middle leave a file in <state>/tmp, which the next start takes away.
    daemon.remove_pods()
    daemon.restart()
    assert not os.listdir(f"{daemon.state}/tmp")

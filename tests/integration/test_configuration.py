"""Configuration: files, drop-ins, flags, and mistakes in them."""
import os
import subprocess

import pytest

from harness import leaks, places

pytestmark = pytest.mark.berth


def berthd(*arguments):
    return subprocess.run([places.program("berthd"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, check=False)


@pytest.fixture
def files(tmp_path):
    """Writes a configuration; returns what berthd says of it with --print-config."""
    def run(text="", drop_ins=None, flags=()):
        main, folder = tmp_path / "berthd.toml", tmp_path / "conf.d"
        main.write_text(text)
        folder.mkdir(exist_ok=True)
        for name, content in (drop_ins or {}).items():
            (folder / name).write_text(content)
        return berthd("--config", str(main), "--config-dir", str(folder), *flags, "--print-config")
    return run


def test_defaults_are_printed_and_can_be_read_again(files):
    first = files()
    assert first.returncode == 0, first.stderr
    for line in ('root = "/var/lib/berth"', 'state = "/run/berth"', 'listen = "unix:///run/berth/berth.sock"',
                 "max_parallel_downloads = 8", 'plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]'):
        assert line in first.stdout, first.stdout
    again = files(first.stdout)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


def test_the_shipped_file_says_the_defaults(files):
    with open(os.path.join(places.TREE, "conf", "berthd.toml"), encoding="utf-8") as shipped:
        told = files(shipped.read())
    assert told.returncode == 0, told.stderr
    assert told.stdout == files().stdout


def test_flags_win_over_drop_ins_over_the_file(files):
    text = 'root = "/from/file"\nstate = "/from/file"\n[log]\nlevel = "warn"\n[image]\nmax_parallel_downloads = 3\n'
    drop_ins = {"20-late.toml": 'state = "/from/late"\n', "10-early.toml": 'state = "/from/early"\n[log]\nlevel = "error"\n',
                "30-other.conf": "this is no toml file and is not read"}
    told = files(text, drop_ins, ["--log-level", "debug"])
    assert told.returncode == 0, told.stderr
    assert 'root = "/from/file"' in told.stdout
    assert 'state = "/from/late"' in told.stdout
    assert 'level = "debug"' in told.stdout
    assert "max_parallel_downloads = 3" in told.stdout


@pytest.mark.parametrize("text,words", [
    ('root = "/x"\nrot = "/y"\n', ["rot", "2"]), ('[image]\n\nmax_parallel_downloads = "eight"\n', ["max_parallel_downloads", "3"]),
    ("root = 5\n", ["root", "1"]), ("[log]\nlevel = 'loud'\n", ["level", "2", "loud"]), ("[nonsense]\nx = 1\n", ["nonsense", "1"]),
    ('root = "relative/path"\n', ["root", "1"]), ("root = \n", ["1"]), ('root = "/x"\nroot = "/y"\n', ["root", "2"]),
    ('[runtime]\ncgroup_manager = "docker"\n', ["cgroup_manager", "docker"]), ("[image]\nmax_parallel_downloads = 0\n", ["max_parallel_downloads", "2"]),
    ('[image]\npull_progress_timeout = "soon"\n', ["pull_progress_timeout", "2"]), ("[api]\nlisten = 'tcp://0.0.0.0:1'\n", ["listen", "2"]),
    ("\xff\xfe", []), ("[" * 5000, [])])
def test_mistakes_are_named_with_their_line(files, text, words):
    told = files(text)
    assert told.returncode not in (0, -6, -11), told
    assert told.stdout == ""
    assert "berthd.toml" in told.stderr
    for word in words:
        assert word in told.stderr, told.stderr


def test_a_mistake_in_a_drop_in_names_that_file(files):
    told = files("", {"50-mine.toml": "\n\nrot = 1\n"})
    assert told.returncode != 0
    assert "50-mine.toml" in told.stderr and "3" in told.stderr and "rot" in told.stderr


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    told = berthd("--config", str(tmp_path / "none.toml"), "--print-config")
    assert told.returncode != 0 and "none.toml" in told.stderr


def test_unknown_flags_are_refused():
    told = berthd("--no-such-flag")
    assert told.returncode != 0 and "no-such-flag" in told.stderr
    assert "berthd" in berthd("--help").stdout
    assert berthd("--version").stdout.startswith("berthd ")


def test_a_mistake_in_the_registries_stops_it_with_a_reason(scratch):
    daemon = scratch(wait=False, registries="[[registry]]\nlocation = 5\n")
    daemon.launch()
    assert daemon.process.wait(30) not in (0, -6, -11)
    daemon.process = None
    assert "registries.conf" in daemon.log()


@pytest.mark.parametrize("what", ["root", "state"])
def test_a_folder_that_cannot_be_is_an_error(scratch, what):
    daemon = scratch(wait=False)
    with open(f"{daemon.base}/{what}", "w", encoding="utf-8"):
        pass
    daemon.launch()
    assert daemon.process.wait(30) not in (0, -6, -11)
    daemon.process = None
    assert f"{daemon.base}/{what}" in daemon.log()


def test_only_its_own_descriptors_reach_its_children(scratch):
    """berthd may itself have been started with descriptors open: none of them reaches a container."""
    daemon = scratch(wait=False)
    leaked = os.open("/etc/hostname", os.O_RDONLY)
    try:
        os.set_inheritable(leaked, True)
        with open(daemon.log_path, "ab") as log:
            daemon.process = subprocess.Popen(daemon.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                              env={"PATH": os.environ["PATH"], "BERTH_SCRATCH": daemon.token},
                                              close_fds=False, start_new_session=True)
        daemon.wait_ready()
        daemon.baseline = daemon._resources()
        pod = daemon.run_pod()
        container = pod.run_container(image="docker.io/berthtest/probes:1")
        assert [line.split()[0] for line in container.output(["print_fds"]).splitlines()] == ["0", "1", "2"]
        for pid in (container.host_pid(), int(open(f"/proc/{container.host_pid()}/stat").read().rsplit(")", 1)[1].split()[1])):
            assert not [target for target in leaks.descriptors(pid) if target == "/etc/hostname"]
    finally:
        os.close(leaked)

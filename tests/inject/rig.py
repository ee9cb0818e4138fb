# SPDX-License-Identifier: LGPL-2.1-or-later
"""One host for injections: a made tree with its kernel, a private bus, the real daemon and its real workers, and
strace beside one of them."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "bus"), str(HERE.parent / "tools")]

import harness  # noqa: E402
import tree_kernel  # noqa: E402
from harness import ASSIGNMENT, BUILD, DAEMON, DEVICE, HOST, JOB, MANAGER, PATH, BusError  # noqa: E402

LIMIT = 30.0  # seconds that anything may take here, where drivers bind at once

FINISHED = {"done", "failed", "cancelled"}
RESTING = {"active", "reserved", "failed", "lost"}
CALL = re.compile(r"^(\w+)\(")


def wait_for_end(pid):
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([pidfd], [], [], LIMIT)[0]:
            raise TimeoutError(f"process {pid} did not end in {LIMIT} s")
    finally:
        os.close(pidfd)


class TreeDaemon(harness.Daemon):
    """The daemon over a made tree; it starts its workers itself. prefix: what it is run under."""

    prefix = ()

    def command(self):
        return [*self.prefix, DAEMON, f"--config-root={self.directory}", f"--root={self.host}",
                f"--bus={self.bus.address}", f"--runtime-dir={self.directory}/run",
                f"--state-dir={self.directory}/state", f"--worker-path={BUILD}/pciassign-worker", "--log-level=info"]


class Strace:
    """strace on a running process, or the words that run one under it."""

    def __init__(self, output, injection=None):
        self.output = output
        self.words = ["strace", "-o", str(output)]
        if injection:
            name = injection.split(":", 1)[0]
            self.words += ["-e", f"trace={name}", "-e", f"inject={injection}"]
        self.process = None

    def prefix(self):
        return [*self.words, "-D"]

    def attach(self, pid):
        self.process = subprocess.Popen([*self.words, "-p", str(pid)], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "attached" in line:
            return self
        self.stop()
        if "No such process" in line or "Operation not permitted" in line:  # gone, or on its way out
            raise ProcessLookupError(line)
        raise RuntimeError(f"strace: {line}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        if self.process:
            self.process.wait(LIMIT)
            self.process.stderr.close()

    def calls(self):
        """Names of the calls, in order."""
        return [m[1] for line in self.output.read_text(errors="replace").splitlines() if (m := CALL.match(line))]


class Rig:
    """What all points share. clean() between them."""

    def __init__(self, vfs=0):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="pciassignd-inject-", dir=base))
        self.directory.chmod(0o711)
        self.bus = harness.PrivateBus(self.directory)
        self.tree = tree_kernel.TreeKernel(tree_kernel.small_host(HOST), self.directory / "tree", vfs).start()
        self.trace = self.directory / "trace"
        self.daemon = self.client = None
        policy = self.directory / "etc/pciassignd"
        policy.mkdir(parents=True)
        (policy / "pciassignd.conf").write_text("[Worker]\nStepTimeoutSec=20\n")

    def close(self):
        self.stop()
        self.tree.stop()
        self.bus.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def clean(self):
        """No daemon, nothing remembered, everything with its host driver."""
        self.stop()
        for name in ("run", "state"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        (self.directory / "daemon.log").unlink(missing_ok=True)
        self.tree.reset()

    def start(self, prefix=()):
        self.daemon = TreeDaemon(self.bus, self.directory, self.directory / "tree",
                                 environment=self.tree.environment(BUILD))
        self.daemon.prefix = prefix
        self.daemon.start()
        self.client = harness.Client(self.bus)

    def settle(self):
        deadline = time.monotonic() + LIMIT
        while not self.client.get(PATH, MANAGER, "Settled"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the daemon did not settle in {LIMIT} s")

    def stop(self):
        """Ends the daemon, dead or alive, and every worker that it has left."""
        workers = self.workers() if self.daemon and self.daemon.process else []
        workers += self.orphans()
        if self.client:
            self.client.close()
        daemon, self.client, self.daemon = self.daemon, None, None
        if daemon and daemon.process:
            daemon.kill()
        for pid in workers:
            wait_for_end(pid)

    def abandon(self):
        """After a fault of whatever kind: nothing of this host is left at work."""
        for pid in [*(self.workers() if self.daemon and self.daemon.process else []), *self.orphans()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.stop()

    def log(self):
        try:
            return (self.directory / "daemon.log").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def orphans(self):
        """Workers that outlived their daemon: a plan's step at hand is ended first."""
        mine = f"--root={self.directory}/tree"
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[0].endswith(b"pciassign-worker") and any(mine.encode() in w or
                                                                  str(self.directory).encode() in w for w in words):
                    found.append(int(entry.name))
        return found

    def workers(self):
        pid = self.daemon.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []
        return [int(c) for c in children]

    def spares(self):
        """Workers, one at least: the next is started as soon as the one before is taken."""
        deadline = time.monotonic() + LIMIT
        while not (found := self.workers()):
            self.settle()  # a round trip to the daemon
            if time.monotonic() > deadline:
                raise TimeoutError(f"no worker stands ready in {LIMIT} s")
        return found

    # ---- snapshots of everything that outlives a crash ----

    def save(self, to):
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        for name in ("run", "state"):
            if (self.directory / name).exists():
                shutil.copytree(self.directory / name, to / name, symlinks=True,
                                ignore=lambda d, names: [n for n in names if (Path(d) / n).is_socket()])
        (to / "tree.json").write_text(json.dumps({**self.tree.state(), "vfs": self.tree.vf_counts()}))

    def restore(self, kept):
        self.clean()
        for name in ("run", "state"):
            if (kept / name).exists():
                shutil.copytree(kept / name, self.directory / name, symlinks=True)
        state = json.loads((kept / "tree.json").read_text())
        self.tree.put(state, state["vfs"])

    # ---- what holds after any crash ----

    def objects(self, interface):
        return {path: values[interface] for path, values in self.client.managed().items() if interface in values}

    def quiet(self):
        """No job at work, no assignment on its way; the assignments."""
        def still():
            jobs = self.objects(JOB)
            assignments = self.objects(ASSIGNMENT)
            return (all(j["State"] in FINISHED for j in jobs.values()) and
                    all(a["State"] in RESTING for a in assignments.values()))
        deadline = time.monotonic() + LIMIT
        while not still():  # each look is a round trip to the daemon
            if time.monotonic() > deadline:
                raise TimeoutError(f"jobs and assignments did not come to rest in {LIMIT} s")
        return self.objects(ASSIGNMENT)

    def explicit(self):
        """Devices that are said to be stuck or quarantined."""
        return {d["Address"] for d in self.objects(DEVICE).values() if d["State"] in ("stuck", "quarantined")}


def violations(rig, acknowledged, expected=None):
    """What a restarted daemon makes of what was left. acknowledged: "assigned", "released" or None, about `expected`,
    the path of the assignment. An empty list is what it must be."""
    found = []
    assignments = rig.quiet()
    state, before = rig.tree.state(), rig.tree.before
    excused = rig.explicit()
    owners = {}
    for path, a in assignments.items():
        for address in a["Devices"]:
            if address in owners:
                found.append(f"{address} has two owners")
            owners[address] = path
            if a["State"] in ("active", "reserved") and state["drivers"].get(address) not in (
                    "vfio-pci", "mlx5_vfio_pci"):
                found.append(f"{address} is {a['State']}, its driver {state['drivers'].get(address)}")
        if a["State"] in ("failed", "lost"):
            found.append(f"{path} rests {a['State']}")
    if acknowledged == "assigned" and expected not in assignments:
        found.append(f"acknowledged {expected} is lost")
    if acknowledged == "released" and expected in assignments:
        found.append(f"released {expected} is back")
    groups = {rig.tree.devices[a]["links"]["iommu_group"] for a in owners}
    for address, driver in state["drivers"].items():
        if rig.tree.devices[address].get("links", {}).get("iommu_group") in groups or address in excused:
            continue
        if address not in before["drivers"]:
            continue  # a virtual function that was made
        if driver != before["drivers"][address] or state["overrides"][address] != before["overrides"][address]:
            found.append(f"{address} belongs to nobody, its driver is {driver} (was {before['drivers'][address]}), its "
                         f"override {state['overrides'][address]}")
        found += settings_changed(rig, state, address)
    found += release_all(rig, assignments, excused)
    return found


def settings_changed(rig, state, address):
    before, now = rig.tree.before["settings"][address], state["settings"][address]
    return [f"{address} belongs to nobody, its {name} is {now.get(name)!r} (was {before[name]!r})"
            for name in before if now.get(name) != before[name]]


def release_all(rig, assignments, excused):
    found = []
    for path in assignments:
        try:
            rig.client.release(path)
        except BusError as error:
            found.append(f"release of {path}: {error}")
    state = rig.tree.state()
    for address, driver in rig.tree.before["drivers"].items():
        if address not in excused and state["drivers"][address] != driver:
            found.append(f"after its release {address} is on {state['drivers'][address]}, was on {driver}")
        if address not in excused and state["drivers"][address] == driver:
            found += settings_changed(rig, state, address)
    return found

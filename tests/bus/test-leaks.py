# SPDX-License-Identifier: LGPL-2.1-or-later
"""Long use leaves nothing: descriptors and memory after many operations of every kind are those of before."""

import os
import random
from pathlib import Path

from harness import ASSIGNMENT, JOB, BusError, options, scenario

# `make soak` asks for 100,000.
OPERATIONS = int(os.environ.get("LEAK_OPERATIONS", "1500"))
NICS = [f"0000:{bus}:00.0" for bus in ("43", "63", "a3")]
NVMES = [f"0000:{bus}:00.0" for bus in ("45", "65", "a5", "c5")]


class Mixture:
    """Seeded operations of clients that come and go; what is refused is refused, what is had is given back."""

    def __init__(self, world):
        self.world, self.random = world, random.Random(1)
        self.client, self.held = world.client(), []
        self.kinds = [(self.assign, 20), (self.release, 20), (self.open, 10), (self.plan, 10), (self.explain, 10),
                      (self.facts, 10), (self.wrong, 10), (self.visit, 8), (self.snapshot, 1), (self.doctor, 1)]

    def run(self, count):
        kinds, weights = zip(*self.kinds)
        for kind in self.random.choices(kinds, weights, k=count):
            try:
                kind()
            except BusError as error:
                assert error.name in ("Owned", "Busy", "NotFound", "Invalid", "NotViable"), error
        while self.held:
            self.client.release(self.held.pop())

    def device(self):
        return self.random.choice(NICS + NVMES)

    def assign(self):
        self.held.append(self.client.assign(self.device(), f"vm-{self.random.randrange(9)}",
                                            lifetime=self.random.choice(["connection", "persistent"]),
                                            labels={"n": str(self.random.random())}))

    def release(self):
        if self.held:
            self.client.release(self.held.pop(self.random.randrange(len(self.held))))

    def open(self):
        if self.held:
            for fd in self.client.call(self.random.choice(self.held), ASSIGNMENT, "Open", "asa{sv}", [], {}).fds:
                os.close(fd)

    def plan(self):
        self.client.manager("Plan", "assa{sv}", [self.device()], "vm-1", {})

    def explain(self):
        self.client.manager("Explain", "ss", self.device(), "vm-1")

    def facts(self):
        self.client.call(self.client.device(self.device()), "org.pciassign1.Device", "GetFacts", "asa{sv}", [], {})

    def wrong(self):
        self.client.assign(self.random.choice(["0000:ff:1f.7", "nonsense", "", "0000:43:00"]), "vm-1")

    def visit(self):
        """A client that takes something and goes."""
        visitor = self.world.client()
        self.world.opened.remove(visitor)
        path = None
        try:
            path = visitor.assign(self.device(), "visitor")
        finally:
            visitor.close()
        wait_gone(self.client, path)

    def snapshot(self):
        for fd in self.client.manager("Snapshot", "a{sv}", options()).fds:
            os.close(fd)

    def doctor(self):
        self.client.manager("Doctor")


def wait_gone(client, path):
    while any(a["Object"] == path for a in client.assignments()):
        pass  # each look is a round trip


def measure(world, client):
    """Descriptors and private bytes, when no job is at work."""
    while any(v[JOB]["State"] not in ("done", "failed", "cancelled") for v in client.managed().values() if JOB in v):
        pass
    proc = Path(f"/proc/{world.daemon.process.pid}")
    rows = (line.split() for line in (proc / "smaps_rollup").read_text().splitlines()[1:])
    private = sum(int(row[1]) << 10 for row in rows if row[0].startswith("Private_"))
    return len(os.listdir(proc / "fd")), private, "libasan" in (proc / "maps").read_text()


@scenario
def many_mixed_operations_leave_nothing(world):
    client = world.client()
    world.settled(client)
    mixture = Mixture(world)
    mixture.run(500)
    fds, private, sanitized = measure(world, client)
    mixture.run(OPERATIONS)
    fds_after, private_after, _ = measure(world, client)
    assert fds_after == fds, f"{fds} descriptors before, {fds_after} after {OPERATIONS} operations"
    # The sanitizer's own books and quarantine grow at first.
    allowed = 8 << 20 if sanitized else 1 << 20
    assert private_after - private <= allowed, f"{private} bytes before, {private_after} after {OPERATIONS} operations"

# SPDX-License-Identifier: LGPL-2.1-or-later
"""--root: the real daemon and the real worker over a made tree, and the way from there to a simulated host and back."""

import json
import os
import subprocess

from harness import BUILD, CLIENT, DAEMON, HOST, LIMIT, TOP, Daemon, scenario

# Facts that the simulated host and the kernel host each find in a way of their own.
SAME_FACTS = (("use", "driver"), ("use", "module"), ("use", "vfio_driver"), ("identity", "slot"), ("hotplug", "slot"),
              ("accelerator", "numa_node"), ("accelerator", "numa_distances"))
VARIANT = "mlx5_vfio_pci"  # by its alias, and a made tree has no modules
SAME = ("address", "vendor", "device", "subsystem_vendor", "class", "revision", "driver", "iommu_group", "numa_node",
        "kind", "port_path", "physical_function", "total_vfs", "reset_methods")
NVME, OTHER = "0000:45:00.0", "0000:65:00.0"


class RootDaemon(Daemon):
    """Over a tree instead of a simulated host; its workers are executed."""

    def command(self):
        return [DAEMON, f"--config-root={self.directory}", f"--root={self.host}", f"--bus={self.bus.address}",
                f"--runtime-dir={self.directory}/run", f"--state-dir={self.directory}/state",
                f"--worker-path={BUILD}/pciassign-worker", "--log-level=debug", *self.arguments]


def bare(function):
    function.bare = True
    return function


def ctl(world, *argv):
    done = subprocess.run([CLIENT, f"--bus={world.bus.address}", *argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, f"{argv}: {done.returncode}: {done.stderr}"
    return done.stdout


def inventory(world):
    return json.loads(ctl(world, "list", "--json"))


def differences(a, b, path=""):
    """Where two documents differ, but for the times of reading."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = (a.keys() | b.keys()) - {"read-at"}
        return [d for k in sorted(keys) for d in differences(a.get(k), b.get(k), f"{path}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a!r} became {b!r}"]


def facts(world, devices):
    return {d["address"]: json.loads(ctl(world, "show", "--json", d["address"])) for d in devices}


def start_over_tree(world):
    tree = world.directory / "tree"
    subprocess.run([TOP / "tests/tools/make-tree", HOST, tree], check=True, timeout=LIMIT)
    world.settings()
    world.daemon = RootDaemon(world.bus, world.directory, tree).start()
    world.settled(world.client())
    return tree


@scenario
@bare
def tree_of_a_host_shows_what_the_host_shows(world):
    world.start()
    world.settled(world.client())
    simulated = inventory(world)
    known = facts(world, simulated)
    assert world.daemon.stop() == 0
    start_over_tree(world)
    over_tree = inventory(world)
    assert len(over_tree) == len(simulated) > 0
    found = facts(world, over_tree)
    for address, shown in known.items():
        for topic, key in SAME_FACTS:
            a, b = shown["facts"][topic][key], found[address]["facts"][topic][key]
            assert a == b or (a, b) == (VARIANT, "vfio-pci"), f"{address} {topic}.{key}: {a!r}, over the tree {b!r}"
    nvme = found[NVME]["facts"]
    assert nvme["use"]["module"] == "nvme" and nvme["use"]["vfio_driver"] == "vfio-pci", nvme["use"]
    assert nvme["hotplug"]["slot"] == {"name": "21", "power": True, "attention": 0, "latch_open": False,
                                       "present": True}, nvme["hotplug"]
    assert nvme["accelerator"]["numa_distances"] == [{"node": 0, "distance": 10}, {"node": 1, "distance": 21}], nvme
    for a, b in zip(simulated, over_tree):
        for key in SAME:
            assert a[key] == b[key], f"{a['address']} {key}: {a[key]!r} simulated, {b[key]!r} over the tree"


@scenario
@bare
def snapshot_replays_fact_for_fact(world):
    start_over_tree(world)
    before, groups = inventory(world), json.loads(ctl(world, "groups", "--json"))
    shown = facts(world, before)
    path = world.directory / "snapshot.json"
    path.write_text(ctl(world, "snapshot"))
    assert world.daemon.stop() == 0
    world.daemon = Daemon(world.bus, world.directory, path).start()
    world.settled(world.client())
    after = inventory(world)
    changed = differences([before, groups, shown],
                          [after, json.loads(ctl(world, "groups", "--json")), facts(world, after)])
    assert not changed, "\n".join(changed)


@scenario
@bare
def redacted_snapshot_names_nobody(world):
    start_over_tree(world)
    text = ctl(world, "snapshot", "--redact")
    host = json.loads(text)
    assert host["devices"], "it has devices"
    for serial in (d["vpd-serial"] for d in json.loads(HOST.read_text())["devices"] if "vpd-serial" in d):
        assert serial not in text, serial


@scenario
@bare
def config_space_that_never_answers_costs_one_device(world):
    """A FIFO without a writer stands for it: the worker that opens it sleeps in the kernel."""
    tree = world.directory / "tree"
    subprocess.run([TOP / "tests/tools/make-tree", HOST, tree], check=True, timeout=LIMIT)
    config = tree / "sys/bus/pci/devices" / NVME / "config"
    config.unlink()
    os.mkfifo(config)
    world.settings("[Worker]\nStepTimeoutSec=5\n")
    world.daemon = RootDaemon(world.bus, world.directory, tree).start()
    client = world.client()
    world.settled(client)
    assert len(inventory(world)) == len(json.loads(HOST.read_text())["devices"])
    other = json.loads(ctl(world, "show", "--json", OTHER))
    assert other["facts"]["reset"], "another device's facts are in"
    with config.open("wb"):  # lets that worker go to its end
        pass

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What outlives a reboot, and foreign hands, over the bus: a reboot is the daemon killed, its runtime directory emptied
and the simulated hardware as it was at first."""

import json
import os
import shutil

from harness import ASSIGNMENT, DEVICE, expect, options, scenario, wait_until

GPU = ["0000:41:00.0", "0000:41:00.1"]
NVME = "0000:45:00.0"


def reboot(world, change=None):
    world.daemon.kill()
    shutil.rmtree(world.directory / "run")
    world.start(change=change)
    client = world.client()
    world.settled(client)
    return client


def reserve(client, devices=(NVME,), **keywords):
    return client.assign(list(devices), "vm-1", lifetime="persistent", **keywords)


def kept(world):
    return sorted(path.name.split("-")[0] for path in (world.directory / "state").iterdir())


@scenario
def a_reservation_comes_back(world):
    c = world.client()
    assignment = reserve(c, labels={"cluster": "a"}, request_id="r-1")
    assert kept(world) == ["device", "reservation"]
    for _ in range(2):
        c = reboot(world)
        c.wait_property(assignment, ASSIGNMENT, "Missing", [])
        c.wait_property(c.device(NVME), DEVICE, "Driver", "vfio-pci")
        assert c.get(assignment, ASSIGNMENT, "State") == "reserved"
        assert c.get(assignment, ASSIGNMENT, "Owner") == "vm-1"
        assert c.get(assignment, ASSIGNMENT, "Labels") == {"cluster": "a"}
        with expect("Owned"):
            c.assign([NVME], "vm-2")
    assert reserve(c, labels={"cluster": "a"}, request_id="r-1") == assignment
    c.release(assignment)
    assert kept(world) == []
    c = reboot(world)
    assert c.assignments() == []


@scenario
def hardware_that_is_missing_is_told(world):
    def without(host):
        host["devices"] = [one for one in host["devices"] if one["address"] != NVME]

    c = world.client()
    assignment = reserve(c)
    c = reboot(world, change=without)
    missing = c.get(assignment, ASSIGNMENT, "Missing")
    assert len(missing) == 1 and "not there" in missing[0], missing
    assert c.get(assignment, ASSIGNMENT, "State") == "reserved"
    c = reboot(world)
    c.wait_property(c.device(NVME), DEVICE, "Driver", "vfio-pci")
    assert c.get(assignment, ASSIGNMENT, "Missing") == []


@scenario
def a_damaged_file_is_left_alone_and_told(world):
    c = world.client()
    reserve(c)
    path = next(path for path in (world.directory / "state").iterdir() if path.name.startswith("device-"))
    text = path.read_text()
    path.write_text(text.replace("vm-1", "vm-9"))
    c = reboot(world)
    assert path.read_text() == text.replace("vm-1", "vm-9")
    assert c.get(c.device(NVME), DEVICE, "State") == "quarantined"
    found = {one["id"]: one for one in json.loads(c.manager("Doctor")[0])["checks"]}["state"]
    assert found["result"] == "warn" and path.name in found["detail"], found
    assert path.name in world.daemon.text()


@scenario
def a_state_directory_that_cannot_be_written_refuses_new_work(world):
    c = world.client()
    assignment = reserve(c)
    state = world.directory / "state"
    aside = world.directory / "aside"
    os.rename(state, aside)
    with expect("Failed", "state directory", str(state)):
        c.assign(GPU, "vm-2")
    found = {one["id"]: one for one in json.loads(c.manager("Doctor")[0])["checks"]}["state"]
    assert found["result"] == "fail", found
    c.release(assignment)
    os.rename(aside, state)
    c.release(c.assign(GPU, "vm-2"))


@scenario
def drift_is_restored_or_adopted(world):
    c = world.client()
    assignment = reserve(c)
    with expect("Invalid"):
        c.call(c.device(NVME), DEVICE, "Restore", "a{sv}", options())
    for verb in ("Restore", "Adopt"):
        c.simulate("Rebind", "ss", NVME, "")
        c.wait_property(c.device(NVME), DEVICE, "Drift", ["driver: none, expected vfio-pci"])
        c.call(c.device(NVME), DEVICE, verb, "a{sv}", options())
        c.wait_property(c.device(NVME), DEVICE, "Drift", [])
        if verb == "Restore":
            assert c.get(c.device(NVME), DEVICE, "Driver") == "vfio-pci"
            assert c.get(assignment, ASSIGNMENT, "State") == "active"
    wait_until("the release", lambda: c.assignments() == [])
    assert c.driver(NVME) == ""

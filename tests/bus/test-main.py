# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job over the bus: look, plan, assign, open, give back; signals, jobs, idempotency, lifetimes."""

import json
import os
import subprocess

from harness import (ALICE, ASSIGNMENT, DEVICE, GROUP, JOB, MANAGER, PATH, BusError, GLib, expect, options, scenario,
                     wait_until)

NVME = "0000:45:00.0"
OTHER_NVME = "0000:65:00.0"
GPU, GPU_AUDIO = "0000:41:00.0", "0000:41:00.1"


@scenario
def manager_tells_of_itself(world):
    c = world.client()
    p = c.get_all(PATH, MANAGER)
    assert p["Simulated"] is True and p["Version"]
    assert p["Counts"] == {"devices": 84, "groups": 71, "assignments": 0, "jobs": 0}
    world.settled(c)


@scenario
def devices_are_found_by_every_name(world):
    c = world.client()
    path = "/org/pciassign1/device/_30000_3a45_3a00_2e0"
    for name in (NVME, "45:00.0", "nvme1", "nvme1n1"):
        assert c.device(name) == path, name
    with expect("NotFound"):
        c.device("nvme99")
    with expect("NotFound", "0000:ff:00.0"):
        c.device("ff:00.0")
    with expect("Invalid"):
        c.device("")


@scenario
def only_canonical_paths_exist(world):
    c = world.client()
    for path in ("/org/pciassign1/device/_30000_3A45_3a00_2e0", "/org/pciassign1/group/024",
                 "/org/pciassign1/device/x", "/org/pciassign1/job/0"):
        with expect("org.freedesktop.DBus.Error.UnknownObject"):
            c.get_all(path, DEVICE)
    assert c.get("/org/pciassign1/group/24", GROUP, "Devices") == [NVME]


@scenario
def managed_objects_equal_the_properties(world):
    c = world.client()
    world.settled(c)
    objects = c.managed()
    assert len(objects) == 84 + 71
    for path in (c.device(NVME), c.device(GPU), "/org/pciassign1/group/21"):
        (interface, values), = objects[path].items()
        assert values == c.get_all(path, interface)


@scenario
def lists_are_filtered_and_paged(world):
    c = world.client()
    world.settled(c)

    def devices(**filters):
        return c.manager("ListDevices", "a{sv}", options(**filters))
    rows, following = devices()
    assert len(rows) == 84 and following == ""
    addresses = [r["Address"] for r in rows]
    assert addresses == sorted(addresses)
    assert rows[5]["Object"] == c.device(rows[5]["Address"])
    assert {r["Address"] for r in devices(**{"class": "010802"})[0]} == {r["Address"] for r in rows
                                                                         if r["Class"] == 0x010802}
    assert len(devices(vendor="10DE", **{"class": "03"})[0]) == 8
    assert [r["Address"] for r in devices(group=GLib.Variant("i", 21))[0]] == [GPU, GPU_AUDIO]
    assert all(r["Driver"] == "nvme" for r in devices(driver="nv[m]e")[0])
    assert all(r["Assignable"] for r in devices(assignable=True)[0])
    seen, after = [], {}
    for _ in range(100):
        page, following = devices(limit=GLib.Variant("u", 10), **after)
        assert len(page) <= 10
        seen += [r["Address"] for r in page]
        if not following:
            break
        after = {"after": following}
    assert seen == addresses
    for wrong in ({"class": "0"}, {"vendor": "10d"}, {"after": "x"}, {"limit": GLib.Variant("u", 0)},
                  {"limit": GLib.Variant("u", 257)}, {"state": "happy"}):
        with expect("Invalid"):
            devices(**wrong)


@scenario
def the_whole_way(world):
    c = world.client()
    c.watch()
    document, token = c.manager("Plan", "assa{sv}", [NVME], "vm-1", {})
    assert token and NVME in document
    assert c.driver(NVME) == "nvme"
    assignment = c.assign(NVME, labels={"vm": "one"}, token=token)
    p = c.get_all(assignment, ASSIGNMENT)
    assert (p["State"], p["Owner"], p["Devices"], p["CreatorUid"]) == ("active", "vm-1", [NVME], 0)
    assert p["Labels"] == {"vm": "one"} and p["Lifetime"] == "connection"
    assert (c.state(NVME), c.driver(NVME)) == ("assigned", "vfio-pci")
    d = c.get_all(c.device(NVME), DEVICE)
    assert d["Assignment"] == assignment and d["Owner"] == "vm-1" and not d["Assignable"]
    assert c.get("/org/pciassign1/group/24", GROUP, "Owner") == "vm-1"

    answer = c.call(assignment, ASSIGNMENT, "Open", "asa{sv}", [], options(device_fd=True))
    shared, ((address, mine),) = answer
    assert shared["api"] == "group" and "container" in shared
    assert address == NVME and mine["bdf"] == NVME and mine["iommu-group"] == 24
    assert len(answer.fds) == 3 == len({shared["container"], mine["group"], mine["device"]})
    for fd in answer.fds:
        os.close(fd)

    assert c.release(assignment) == "/"
    assert (c.state(NVME), c.driver(NVME)) == ("host", "nvme")
    assert c.assignments() == []
    states = [v[1]["State"] for p, _i, m, v in c.signals
              if m == "PropertiesChanged" and p == assignment and "State" in v[1]]
    assert states[-1] == "released", states
    members = [m for p, _i, m, _v in c.signals if p in (assignment, PATH)]
    for name in ("InterfacesAdded", "InterfacesRemoved", "JobNew", "JobRemoved"):
        assert name in members, (name, members)


@scenario
def changes_say_only_what_changed(world):
    c = world.client()
    world.settled(c)
    c.watch()
    c.assign(NVME)
    changed = {}
    wait_until("Driver", lambda: [changed.update(v[1]) for p, _i, m, v in c.signals
                                  if m == "PropertiesChanged" and p == c.device(NVME)] and "Driver" in changed)
    assert changed["Driver"] == "vfio-pci" and changed["State"] == "assigned"
    assert not {"Address", "VendorId", "Class", "NumaNode", "Iommu", "IommuGroup", "Slot"} & set(changed), changed


@scenario
def a_refusal_is_data(world):
    c = world.client()
    try:
        c.assign(GPU)
        raise AssertionError("a group was split")
    except BusError as error:
        assert error.name == "NotViable", error
        assert GPU_AUDIO in error.message
        assert error.details["blockers"][0]["device"] == GPU_AUDIO
        assert error.details["blockers"][0]["remedy"]
    assert c.driver(GPU) == "nvidia"
    assignment = c.assign(GPU, group="take-all")
    assert c.get(assignment, ASSIGNMENT, "Parked") == [GPU_AUDIO]
    c.release(assignment)
    assert (c.driver(GPU), c.driver(GPU_AUDIO)) == ("nvidia", "snd_hda_intel")


@scenario
def what_the_host_needs_is_refused_with_its_proof(world):
    c = world.client()
    with expect("HostCritical", "→ /"):
        c.assign("nvme0")
    with expect("HostCritical"):
        c.assign("eno1")


@scenario
def a_second_owner_is_refused(world):
    a, b = world.client(), world.client()
    first = a.assign(NVME, "vm-1")
    with expect("Owned", "vm-1"):
        b.assign(NVME, "vm-2")
    a.release(first)
    b.release(b.assign(NVME, "vm-2"))


@scenario
def two_race_and_one_wins(world):
    clients = [world.client() for _ in range(4)]
    replies = [c.send_assign(NVME, f"vm-{n}") for n, c in enumerate(clients)]
    won, lost = [], []
    for reply in replies:
        try:
            won.append(reply.wait()[0])
        except BusError as error:
            lost.append(error.name)
    assert len(won) == 1 and set(lost) <= {"Owned", "Busy"}, (won, lost)


@scenario
def the_same_request_twice_is_one(world):
    c = world.client()
    first = c.assign(NVME, lifetime="persistent", request_id="r1")
    assert c.assign(NVME, lifetime="persistent", request_id="r1") == first
    with expect("Invalid", "r1"):
        c.assign(OTHER_NVME, lifetime="persistent", request_id="r1")
    assert [r["Id"] for r in c.assignments(request="r1")] == [first.rsplit("/", 1)[1]]
    assert c.assignments(request="r2") == []


@scenario
def a_connection_that_ends_gives_back(world):
    watcher, owner = world.client(), world.client()
    assignment = owner.assign(NVME)
    assert watcher.get(assignment, ASSIGNMENT, "State") == "active"
    owner.close()
    wait_until("the release", lambda: watcher.assignments() == [])
    assert watcher.driver(NVME) == "nvme"


@scenario
def a_caller_that_leaves_at_once_gets_nothing(world):
    watcher = world.client()
    for _ in range(10):
        owner = world.client()
        owner.send_assign(NVME)
        owner.connection.flush_sync(None)
        owner.close()
    wait_until("the release", lambda: watcher.assignments() == [] and watcher.state(NVME) == "host")


@scenario
def a_process_that_ends_gives_back(world):
    c = world.client()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    fd = os.pidfd_open(process.pid)
    try:
        assignment = c.manager("Assign", "assa{sv}", [NVME], "vm-1",
                               options(lifetime="process", pidfd=GLib.Variant("h", 0)), fds=[fd])[0]
        assert c.get(assignment, ASSIGNMENT, "Pid") == process.pid
    finally:
        process.stdin.close()
        process.wait()
        os.close(fd)
    wait_until("the release", lambda: c.assignments() == [])


@scenario
def attaching_hands_over(world):
    orchestrator, watcher = world.client(), world.client()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    fd = os.pidfd_open(process.pid)
    try:
        assignment = orchestrator.assign(NVME)
        orchestrator.call(assignment, ASSIGNMENT, "Attach", "hsa{sv}", 0, str(ALICE), {}, fds=[fd])
        assert orchestrator.get(assignment, ASSIGNMENT, "UserUid") == ALICE
        assert orchestrator.get(assignment, ASSIGNMENT, "Lifetime") == "process"
        orchestrator.close()
        assert watcher.get(assignment, ASSIGNMENT, "State") == "active"
    finally:
        process.stdin.close()
        process.wait()
        os.close(fd)
    wait_until("the release", lambda: watcher.assignments() == [])


@scenario
def a_job_tells_its_steps(world):
    c = world.client()
    c.watch()
    c.simulate("Inject", "ssa{sv}", "probe", NVME, options(kind="delay", delay=GLib.Variant("t", 200000)))
    assignment, job = c.manager("Assign", "assa{sv}", [NVME], "vm-1", options(no_wait=True))
    assert job.startswith("/org/pciassign1/job/")
    c.wait_signal("JobRemoved", lambda _p, v: v == (job, "done"))
    p = c.get_all(job, JOB)
    assert p["State"] == "done" and p["Done"] == p["Total"] == len(p["Steps"]) > 3
    assert all(state == "done" for _text, state in p["Steps"])
    assert '"error":null' in p["Result"].replace(" ", "")
    assert c.get(assignment, ASSIGNMENT, "State") == "active"


@scenario
def a_failed_step_undoes_the_rest(world):
    c = world.client()
    c.simulate("Inject", "ssa{sv}", "probe", NVME, options(kind="error", error=GLib.Variant("u", 5),
                                                            times=GLib.Variant("u", 1)))
    with expect("Failed", NVME):
        c.assign(NVME)
    assert (c.state(NVME), c.driver(NVME)) == ("host", "nvme")
    assert c.assignments() == []


@scenario
def a_job_is_cancelled(world):
    c = world.client()
    c.watch()
    c.simulate("Inject", "ssa{sv}", "unbind", NVME, options(kind="delay", delay=GLib.Variant("t", 300000)))
    _assignment, job = c.manager("Assign", "assa{sv}", [NVME], "vm-1", options(no_wait=True))
    c.call(job, JOB, "Cancel")
    c.wait_signal("JobRemoved", lambda _p, v: v[0] == job)
    assert c.get(job, JOB, "State") == "cancelled"
    wait_until("the driver", lambda: c.driver(NVME) == "nvme")
    assert c.assignments() == []


@scenario
def a_stale_token_is_refused(world):
    c = world.client()
    _document, token = c.manager("Plan", "assa{sv}", [NVME], "vm-1", {})
    c.simulate("Rebind", "ss", NVME, "")
    wait_until("the driver", lambda: c.driver(NVME) == "")
    with expect("PlanStale"):
        c.assign(NVME, token=token)


@scenario
def a_card_that_is_pulled_is_told(world):
    c = world.client()
    c.watch()
    assignment = c.assign(NVME)
    c.simulate("SurpriseRemove", "s", NVME)
    path, (first, device, reason, deadline) = c.wait_signal("RemovalRequested")
    assert (path, first, device, reason, deadline) == (assignment, 1, NVME, "foreign-unbind", 0)
    path, (number, device) = c.wait_signal("Lost")
    assert (path, number, device) == (assignment, 2, NVME)
    events, following = c.call(assignment, ASSIGNMENT, "GetEvents", "t", 0)
    assert [(e["number"], e["kind"], e["device"], e["acknowledged"]) for e in events] == [
        (1, "RemovalRequested", NVME, False), (2, "Lost", NVME, False)]
    assert following == 2
    assert c.call(assignment, ASSIGNMENT, "GetEvents", "t", 1)[0] == events[1:]
    assert c.call(assignment, ASSIGNMENT, "GetEvents", "t", following)[0] == []
    assert c.get(assignment, ASSIGNMENT, "PendingEvents") == 2
    with expect("Invalid"):
        c.call(assignment, ASSIGNMENT, "Acknowledge", "t", 7)
    c.call(assignment, ASSIGNMENT, "Acknowledge", "t", 1)
    assert c.get(assignment, ASSIGNMENT, "PendingEvents") == 1


@scenario
def a_foreign_rebind_is_drift(world):
    c = world.client()
    assignment = c.assign(NVME)
    c.watch()
    c.simulate("Rebind", "ss", NVME, "")
    path, values = c.wait_signal("Drift")
    assert values[0] == c.device(NVME) and values[1]["expected"] == "vfio-pci", values
    assert path == PATH
    assert c.get(assignment, ASSIGNMENT, "State") in ("active", "failed")


def override_of(c, device):
    facts, = c.call(c.device(device), DEVICE, "GetFacts", "asa{sv}", ["use"], options(refresh=True))
    return facts["use"]["override"]


@scenario
def a_foreign_override_is_left_and_told(world):
    """No event tells of a write to driver_override; the release sees it and keeps its hands off."""
    c = world.client()
    assignment = c.assign(NVME)
    c.watch()
    c.simulate("SetOverride", "ss", NVME, "uio_pci_generic")
    job, = c.call(assignment, ASSIGNMENT, "Release", "a{sv}", options(no_wait=True))
    _path, values = c.wait_signal("Drift")
    assert values == (c.device(NVME), {"what": "driver_override", "found": "uio_pci_generic", "expected": ""}), values
    wait_until("the release", lambda: c.get(job, JOB, "State") == "done")
    details = json.loads(c.get(job, JOB, "Result"))["details"]
    assert f"{NVME}: driver_override is uio_pci_generic, was none" in details["differs"], details
    assert override_of(c, NVME) == "uio_pci_generic"
    assert c.assignments() == []


@scenario
def an_override_of_before_comes_back(world):
    c = world.client()
    c.simulate("SetOverride", "ss", NVME, "nvme")
    c.call(c.assign(NVME), ASSIGNMENT, "Release", "a{sv}", {})
    assert override_of(c, NVME) == "nvme" and c.driver(NVME) == "nvme"


@scenario
def cards_come_and_go(world):
    c = world.client()
    world.settled(c)
    c.watch()
    path = c.device(OTHER_NVME)
    c.simulate("Remove", "s", OTHER_NVME)
    c.wait_signal("InterfacesRemoved", lambda _p, v: v == (path, [DEVICE]))
    with expect("NotFound"):
        c.device(OTHER_NVME)


@scenario
def facts_come_by_topic(world):
    c = world.client()
    facts, = c.call(c.device(NVME), DEVICE, "GetFacts", "asa{sv}", ["identity", "resources"], {})
    assert set(facts) == {"identity", "resources"}
    assert isinstance(facts["identity"], dict) and "read-at" in facts["identity"]
    every, = c.call(c.device(NVME), DEVICE, "GetFacts", "asa{sv}", [], options(refresh=True))
    assert len(every) == 13
    with expect("Invalid", "weather"):
        c.call(c.device(NVME), DEVICE, "GetFacts", "asa{sv}", ["weather"], {})


@scenario
def explain_and_doctor_answer_in_json(world):
    import json
    c = world.client()
    verdict = json.loads(c.manager("Explain", "ss", NVME, "vm-1")[0])
    assert verdict["assignable"] is True
    assert json.loads(c.manager("Doctor")[0])


@scenario
def a_snapshot_is_a_file_that_loads(world):
    import json
    c = world.client()
    answer = c.manager("Snapshot", "a{sv}", options(redact=True))
    with os.fdopen(answer.fds[0]) as f:
        f.seek(0)
        snapshot = json.load(f)
    assert len(snapshot["devices"]) == 84


@scenario
def virtual_functions_come_and_go(world):
    c = world.client()
    world.settled(c)
    nic = c.device("0000:43:00.0")
    assert c.get(nic, DEVICE, "TotalVfs") > 0
    before = len(c.manager("ListDevices", "a{sv}", {})[0])
    c.call(nic, DEVICE, "SetVirtualFunctions", "ua{sv}", 2, {})
    wait_until("the functions", lambda: len(c.manager("ListDevices", "a{sv}", {})[0]) == before + 2)
    rows = [r for r in c.manager("ListDevices", "a{sv}", {})[0] if r["PhysicalFunction"] == "0000:43:00.0"]
    assert len(rows) == 2 and {r["Driver"] for r in rows} == {""}
    # Nothing is taken from under an owner, nor is the physical function given away under one.
    path = c.assign("0000:43:00.2", "vm-1", lifetime="persistent")
    for number in (0, 1, 4):
        with expect("Owned", "0000:43:00.2 to vm-1"):
            c.call(nic, DEVICE, "SetVirtualFunctions", "ua{sv}", number, {})
    with expect("Owned", "vm-1"):
        c.call(nic, DEVICE, "Reset", "a{sv}", {})
    with expect("Owned", "virtual function"):
        c.assign("0000:43:00.0", "vm-2")
    c.release(path)
    c.call(nic, DEVICE, "SetVirtualFunctions", "ua{sv}", 3, options(driver="vfio-pci"))
    rows = [r for r in c.manager("ListDevices", "a{sv}", {})[0] if r["PhysicalFunction"] == "0000:43:00.0"]
    assert [(r["Driver"], r["IommuGroup"] >= 0) for r in rows] == [("vfio-pci", True)] * 3, rows
    facts = c.call(nic, DEVICE, "GetFacts", "asa{sv}", ["sriov"], options(refresh=True))[0]
    assert facts["sriov"]["autoprobe"] is True, facts
    with expect("Invalid", "at most"):
        c.call(nic, DEVICE, "SetVirtualFunctions", "ua{sv}", 1000, {})
    c.call(nic, DEVICE, "SetVirtualFunctions", "ua{sv}", 0, {})
    wait_until("their end", lambda: len(c.manager("ListDevices", "a{sv}", {})[0]) == before)


@scenario
def a_free_device_is_reset(world):
    c = world.client()
    c.simulate("Rebind", "ss", NVME, "")
    wait_until("the driver", lambda: c.driver(NVME) == "")
    assert c.call(c.device(NVME), DEVICE, "Reset", "a{sv}", {})[0] == "/"


@scenario
def rescan_reads_anew(world):
    c = world.client()
    assert c.manager("Rescan", "a{sv}", {})[0] == "/"

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices by what they are: AssignMatching and PlanMatching, several clients at once, hostile wants, and --match."""

import json
import os
import subprocess

from harness import ALICE, BOB, CLIENT, LIMIT, MANAGER, PATH, BusError, GLib, expect, options, scenario

WANTS = "a(a{sv}u)sa{sv}"


def wants(*pairs):
    """(2, {"kind": "gpu"}) … → a(a{sv}u)"""
    def wrap(v):
        return GLib.Variant("i", v) if isinstance(v, int) else GLib.Variant("s", v)
    return [({k.replace("_", "-"): wrap(v) for k, v in selectors.items()}, n) for n, selectors in pairs]


def devices(client, path):
    return client.get(path, "org.pciassign1.Assignment", "Devices")


def ctl(world, *argv, status=0):
    done = subprocess.run([CLIENT, *argv], env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": world.bus.address},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == status, f"{argv}: {done.returncode}, not {status}: {done.stdout}{done.stderr}"
    return done


@scenario
def two_gpus_and_a_nic_below_one_switch(world):
    client = world.client()
    path, job = client.manager("AssignMatching", WANTS, wants((2, {"kind": "gpu"}), (1, {"kind": "nic"})), "vm-1",
                               options(group="take-all", same_numa_node=True, lifetime="persistent"))
    assert job == "/"
    assert devices(client, path) == ["0000:41:00.0", "0000:42:00.0", "0000:43:00.0"], devices(client, path)
    assert client.driver("0000:41:00.0") == "vfio-pci"


@scenario
def clients_at_once_never_get_the_same(world):
    """Four disks that can be had, two clients that ask for one each, eight times, all calls on their way at once."""
    world.polkit("yes")
    first, second = world.client(ALICE, [ALICE]), world.client(BOB, [BOB])
    calls = [(client.send(PATH, MANAGER, "AssignMatching", WANTS, wants((1, {"kind": "nvme"})), owner,
                          options(lifetime="persistent")), client)
             for _ in range(4) for client, owner in ((first, "vm-a"), (second, "vm-b"))]
    got, refused = [], 0
    for reply, client in calls:
        try:
            got += devices(client, reply.wait()[0])
        except BusError as error:
            assert error.name == "Owned", error
            assert error.details["match"]["left_out"], error.details
            refused += 1
    assert sorted(got) == ["0000:45:00.0", "0000:65:00.0", "0000:a5:00.0", "0000:c5:00.0"], got
    assert refused == 4
    assert len(first.assignments()) == 4


@scenario
def a_plan_ranks_and_its_token_holds(world):
    client = world.client()
    text, token = client.manager("PlanMatching", WANTS, wants((2, {"kind": "nvme", "numa_node": 1})), "vm-1", {})
    plan = json.loads(text)
    match = plan["match"]
    assert plan["assignable"] and token == plan["token"]
    assert match["sets"][0]["chosen"] and match["sets"][0]["near"] == "same-numa-node"
    assert [d["device"] for d in match["sets"][0]["devices"]] == ["0000:a5:00.0", "0000:c5:00.0"]
    assert match["wants"] == [{"want": "2:kind=nvme,numa-node=1", "count": 2, "matching": 2, "free": 2}]
    assert match["exhaustive"] and match["n_left_out"] == 0
    client.manager("AssignMatching", WANTS, wants((1, {"kind": "nvme", "numa_node": 1})), "vm-2", {})
    with expect("Owned", "Want 1"):
        client.manager("AssignMatching", WANTS, wants((2, {"kind": "nvme", "numa_node": 1})), "vm-1",
                       options(token=token))


@scenario
def what_the_host_needs_is_left_out_and_says_why(world):
    client = world.client()
    match = json.loads(client.manager("PlanMatching", WANTS, wants((5, {"kind": "nvme"})), "vm-1", {})[0])
    assert not match["assignable"] and match["plan"] is None and match["error"] == "NotViable"
    left_out = match["match"]["left_out"]
    assert [(x["device"], x["code"]) for x in left_out] == [("0000:05:00.0", left_out[0]["code"])], left_out
    assert left_out[0]["code"].startswith("host-") and left_out[0]["remedy"]


@scenario
def hostile_wants(world):
    client = world.client()
    for bad in (wants(), wants((0, {"kind": "nvme"})), wants((65, {})), wants((1, {"kind": "toaster"})),
                wants((1, {"no-such": "x"})), wants(*[(1, {})] * 17), wants(*[(16, {})] * 5),
                wants((1, {"vendor": "zz"})), wants((1, {"slot": ""})), wants((1, {"slot": "x" * 256})),
                [({"kind": GLib.Variant("u", 3)}, 1)], [({"numa-node": GLib.Variant("s", "0")}, 1)],
                wants((0xffffffff, {}))):
        with expect("Invalid"):
            client.manager("AssignMatching", WANTS, bad, "vm-1", {})
    with expect("Invalid", "force"):
        client.manager("AssignMatching", WANTS, wants((1, {})), "vm-1", options(force=True, reason="x"))
    with expect("Invalid", "owner"):
        client.manager("AssignMatching", WANTS, wants((1, {"kind": "nvme"})), "", {})
    with expect("NotFound", "Want 2"):
        client.manager("AssignMatching", WANTS, wants((1, {"kind": "nvme"}), (1, {"vendor": "ffff"})), "vm-1", {})
    # Everything satisfies everything: an end all the same.
    text, _token = client.manager("PlanMatching", WANTS, wants(*[(4, {"address": "*" * 100 + "?"})] * 16), "vm-1",
                                  options(group="take-all"))
    assert json.loads(text)["error"] == "NotViable"
    assert not client.assignments()


@scenario
def the_client_matches(world):
    world.settled(world.client())
    plan = json.loads(ctl(world, "plan", "--match", "2:kind=gpu", "--match", "kind=nic", "--same-numa", "--group",
                          "take-all", "--json").stdout)
    assert [d["device"] for d in plan["match"]["sets"][0]["devices"]] == ["0000:41:00.0", "0000:42:00.0",
                                                                         "0000:43:00.0"]
    shown = ctl(world, "plan", "--match", "2:kind=gpu", "--group", "take-all").stdout
    assert "1. 0000:41:00.0 0000:42:00.0  (this one)" in shown and "all below bridge 0000:3d:00.0" in shown, shown
    assert "host-console" in shown, shown
    done = json.loads(ctl(world, "assign", "--match=2:kind=nvme,numa-node=1", "--same-numa", "--owner", "vm-1",
                          "--json").stdout)
    assert done["devices"] == ["0000:a5:00.0", "0000:c5:00.0"], done
    ctl(world, "assign", "--match", "kind=nvme,numa-node=1", status=5)
    ctl(world, "assign", "--match", "2:kind=gpu,numa-node=1", "--clean-groups", status=4)
    ctl(world, "assign", "--match", "kind=toaster", status=2)
    for wrong in (["--match", "nonsense"], ["--match", "2:"], ["--match", "kind="], ["--match", "=x"],
                  ["--match", "99999999999:kind=gpu"], ["--match", "numa-node=x"], ["--match", "kind=gpu", "41:00.0"],
                  ["--same-numa", "41:00.0"], []):
        ctl(world, "assign", *wrong, status=2)

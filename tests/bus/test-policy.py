# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules: read, refused, reloaded, masked; who may name which owner, and how much of it; what a reload does to work on its
way.
"""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from harness import (ADMIN_GID, ALICE, ASSIGNMENT, BOB, CLIENT, HOST, LIMIT, MANAGER, NOBODY, PATH, TOP, BusError, GLib,
                     expect, scenario, wait_until)

NVME, ACCELERATOR, NIC = "0000:45:00.0", "0000:d9:00.0", "0000:43:00.0"


def bare(function):
    function.bare = True
    return function


def rules(*items, **defaults):
    return {"version": 1, "rules": list(items), "defaults": defaults}


def owners(*names, users=(), groups=()):
    return [{"owner": name, "users": list(users), "groups": list(groups)} for name in names]


def generation(client):
    return client.get(PATH, MANAGER, "PolicyGeneration")


def reload(client):
    client.manager("ReloadPolicy", "a{sv}", {})
    return generation(client)


def explain(client, device, owner="vm-1"):
    return json.loads(client.manager("Explain", "ss", device, owner)[0])


DENY_NVME = rules({"name": "no-nvme", "match": {"kind": "nvme"}, "assign": "deny"})


@scenario
def a_reload_is_whole_and_counted(world):
    root = world.client()
    world.settled(root)
    root.watch()
    assert generation(root) == 1
    assert reload(root) == 1, "nothing changed"
    world.policy(DENY_NVME)
    assert reload(root) == 2
    root.wait_signal("PropertiesChanged", lambda p, v: p == PATH and v[1].get("PolicyGeneration") == 2)
    root.wait_property(root.device(NVME), "org.pciassign1.Device", "Blockers", ["policy-denied"])
    with expect("PolicyDenied", NVME, "no-nvme", "policy.d/50-tests.json:1,", "/rules/0/assign"):
        root.assign(NVME)
    root.release(root.assign(ACCELERATOR))
    world.policy(None)
    assert reload(root) == 3
    root.wait_property(root.device(NVME), "org.pciassign1.Device", "Blockers", [])
    root.release(root.assign(NVME))


@scenario
def a_refusal_names_rule_file_and_pointer(world):
    root = world.client()
    path = world.policy(DENY_NVME)
    reload(root)
    try:
        root.assign(NVME)
        raise AssertionError("it was granted")
    except BusError as error:
        refusal = error
    blocker, = (b for b in refusal.details["blockers"] if b["code"] == "policy-denied")
    assert (blocker["rule"], blocker["pointer"]) == ("no-nvme", "/rules/0/assign"), blocker
    assert blocker["file"] == "/etc/pciassignd/policy.d/50-tests.json" and blocker["line"] == 1, blocker
    assert path.name in refusal.message
    member, = explain(root, NVME)["groups"][0]["members"]
    assert member["rule"]["name"] == "no-nvme" and member["rule"]["pointer"] == "/rules/0"


@scenario
def force_does_not_pass_over_a_rule(world):
    root = world.client()
    world.policy(DENY_NVME)
    reload(root)
    with expect("PolicyDenied"):
        root.assign(NVME, force=True, reason="because")


BAD = {
    "truncated": ('{"version": 1, "rules": [', "50-tests.json:1:"),
    "duplicate": ('{"version": 1,\n "rules": [],\n "rules": []}', "50-tests.json:3:"),
    "unknown key": ('{"version": 1,\n "rules": [{"name": "x", "match": {}, "asign": "deny"}]}', "/rules/0/asign"),
    "wrong type": ('{"version": 1, "defaults": {"limit": "many"}}', "/defaults/limit"),
    "version": ('{"version": 7}', "/version"),
    "no utf-8": (b'{"version": 1, "rules": [{"name": "\xff"}]}', "50-tests.json:1:"),
    "deep": ('{"version": ' + "[" * 100 + "]" * 100 + "}", "50-tests.json:1:"),
    "no object": ("[]", "50-tests.json"),
}


@scenario
def a_bad_file_keeps_the_old_policy(world):
    root = world.client()
    world.policy(DENY_NVME)
    assert reload(root) == 2
    for what, (text, where) in BAD.items():
        path = world.policy("")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with expect("Invalid", "stays", where):
            reload(root)
        assert generation(root) == 2, what
        with expect("PolicyDenied", "no-nvme"):
            root.assign(NVME)
        answer = json.loads(root.manager("CheckPolicy", "s", "")[0])
        assert not answer["valid"] and answer["problems"], (what, answer)
    root.release(root.assign(ACCELERATOR))


@scenario
def every_problem_of_every_file_is_told(world):
    root = world.client()
    world.policy('{"version": 1, "defaults": {"p2p": "no", "ats": 3}}', "10-a.json")
    world.policy("nonsense", "20-b.json", "lib")
    try:
        reload(root)
        raise AssertionError("it was loaded")
    except BusError as error:
        problems = error.details["problems"]
    assert len(problems) == 3, problems
    assert {p["pointer"] for p in problems} == {"/defaults/p2p", "/defaults/ats", ""}
    assert all(p["found"] and p["expected"] and p["file"].endswith(".json") for p in problems)


@scenario
def files_that_are_none(world):
    root = world.client()
    folder = world.policy(None).parent
    for make in (lambda p: os.mkfifo(p), lambda p: p.symlink_to(p.name), lambda p: p.symlink_to("nowhere"),
                 lambda p: p.mkdir(), lambda p: (p.touch(), os.truncate(p, 5 << 30))):
        bad = folder / "60-bad.json"
        make(bad)
        with expect("Invalid", "60-bad.json"):
            reload(root)
        bad.rmdir() if bad.is_dir() and not bad.is_symlink() else bad.unlink()
    assert reload(root) == 2, "without the file that scenarios have"


@scenario
def later_directories_mask(world):
    root = world.client()
    world.policy(DENY_NVME, "70-x.json", "lib")
    assert reload(root) == 2
    with expect("PolicyDenied", "/usr/lib/pciassignd/policy.d/70-x.json"):
        root.assign(NVME)
    run = world.policy(rules({"name": "other", "match": {"kind": "nvme"}, "limit": 0}), "70-x.json", "run")
    assert reload(root) == 3
    with expect("PolicyDenied", "/run/pciassignd/policy.d/70-x.json", "/rules/0/limit"):
        root.assign(NVME)
    etc = world.policy("", "70-x.json", "etc")
    assert reload(root) == 4
    root.release(root.assign(NVME))
    etc.unlink()
    etc.symlink_to("/dev/null")
    assert reload(root) == 4
    etc.unlink()
    assert reload(root) == 5
    run.unlink()
    assert reload(root) == 6


@scenario
def sighup_loads_the_policy(world):
    root = world.client()
    world.policy(DENY_NVME)
    world.daemon.process.send_signal(signal.SIGHUP)
    root.wait_property(PATH, MANAGER, "PolicyGeneration", 2)
    world.policy("nonsense")
    world.daemon.process.send_signal(signal.SIGHUP)
    wait_until("A word in the log", lambda: "The policy is not used" in world.daemon.text())
    assert generation(root) == 2
    with expect("PolicyDenied"):
        root.assign(NVME)


@bare
@scenario
def a_bad_policy_at_start_refuses_new_work(world):
    path = world.policy('{"version": 1,\n "wrong": 1}')
    world.start(policy=None)
    root = world.client()
    world.settled(root)
    with expect("PolicyDenied", "the policy cannot be read", "50-tests.json:2:"):
        root.assign(NVME)
    answer = explain(root, NVME)
    assert not answer["assignable"] and answer["error"] == "PolicyDenied", answer
    assert answer["blockers"][0]["code"] == "policy-unreadable"
    assert "policy-unreadable" in root.get(root.device(NVME), "org.pciassign1.Device", "Blockers")
    doctor = json.loads(root.manager("Doctor")[0])
    check, = (c for c in doctor["checks"] if c["id"] == "policy")
    assert check["result"] == doctor["result"] == "fail" and "50-tests.json:2:" in check["detail"], check
    with expect("Invalid", "50-tests.json:2:"):
        reload(root)
    path.write_text(json.dumps(DENY_NVME))
    reload(root)
    with expect("PolicyDenied", "no-nvme"):
        root.assign(NVME)
    root.release(root.assign(ACCELERATOR))


# ---- owners, limits ----


@scenario
def who_may_name_which_owner(world):
    polkit = world.polkit("yes")
    root, alice, bob = world.client(), world.client(ALICE, [ALICE]), world.client(BOB, [BOB, 4711])
    member, nobody = world.client(NOBODY, [ADMIN_GID]), world.client(NOBODY, [NOBODY])
    world.policy(rules(owners=owners("alice-*", users=[ALICE]) + owners("shared-*", groups=[4711]) + ["root-*"]))
    reload(root)
    granted = {"alice-1": {alice, root, member}, "shared-1": {bob, root, member}, "root-1": {root, member},
               "other": set()}
    for owner, allowed in granted.items():
        for client in (root, alice, bob, member, nobody):
            if client in allowed:
                client.release(client.assign(NVME, owner))
            else:
                with expect("PolicyDenied", "/defaults/owners"):
                    client.assign(NVME, owner)
            assert explain(client, NVME, owner)["assignable"] == (client in allowed), (owner, client.name)
    polkit.close()


@bare
@scenario
def without_files_only_managers_name_owners(world):
    world.start(policy=None)
    world.polkit("yes")
    root, alice, member = world.client(), world.client(ALICE, [ALICE]), world.client(BOB, [ADMIN_GID])
    for client in (root, member):
        client.release(client.assign(NVME))
    with expect("PolicyDenied", "built in"):
        alice.assign(NVME)


LIMITED = rules({"name": "one-each", "match": {"kind": ["nvme", "nic"]}, "limit": 1,
                 "owners": owners("vm-*", users=[ALICE, BOB])})


@scenario
def a_limit_counts_by_user_and_owner(world):
    world.polkit("yes")
    root, alice, bob = world.client(), world.client(ALICE), world.client(BOB)
    world.policy(LIMITED)
    reload(root)
    first = alice.assign(NVME, "vm-1")
    with expect("PolicyDenied", "one-each", "/rules/0/limit"):
        alice.assign(NIC, "vm-1")
    assert not explain(alice, NIC, "vm-1")["assignable"]
    other = alice.assign(NIC, "vm-2")
    alice.release(other)
    other = bob.assign(NIC, "vm-1")
    bob.release(other)
    alice.release(first)
    alice.release(alice.assign(NIC, "vm-1"))
    with expect("PolicyDenied", "/rules/0/limit"):
        alice.assign([NVME, NIC], "vm-1")


@bare
@scenario
def a_limit_holds_between_concurrent_clients(world):
    """Two clients of one user at the same time: one gets it, one is refused, whichever comes first."""
    world.start(slow=True, policy=LIMITED)
    world.polkit("yes")
    world.settled(world.client())
    for _ in range(5):
        clients = [world.client(ALICE), world.client(ALICE)]
        calls = [clients[0].send_assign(NVME, "vm-1"), clients[1].send_assign(NIC, "vm-1")]
        got, refused = [], []
        for client, call in zip(clients, calls):
            try:
                got.append((client, call.wait()[0]))
            except BusError as error:
                refused.append(error.name)
        assert len(got) == 1 and refused == ["PolicyDenied"], (got, refused)
        got[0][0].release(got[0][1])


# ---- what rules say of a request ----


@scenario
def a_lifetime_is_checked_also_where_none_is_said(world):
    root = world.client()
    world.policy(rules(lifetime=["persistent"]))
    reload(root)
    with expect("PolicyDenied", "/defaults/lifetime"):
        root.assign(NVME)
    with expect("PolicyDenied", "/defaults/lifetime"):
        root.assign(NVME, lifetime="connection")
    root.release(root.assign(NVME, lifetime="persistent"))


@scenario
def a_token_covers_the_policy(world):
    root = world.client()
    text, token = root.manager("Plan", "assa{sv}", [NVME], "vm-1", {})
    assert json.loads(text)["assignable"]
    world.policy(rules({"name": "n", "match": {"kind": "nvme"}, "ats": "allow"}))
    reload(root)
    with expect("PlanStale", "policy"):
        root.assign(NVME, token=token)


# ---- reload while work is on its way ----


@scenario
def a_reload_while_an_assignment_is_under_way(world):
    """The plan that runs keeps what it was made with; what is asked for next meets the new rules."""
    root = world.client()
    world.settled(root)
    root.simulate("Inject", "ssa{sv}", "unbind", NVME, {"kind": GLib.Variant("s", "hang")})
    call = root.send_assign(NVME, lifetime="persistent")
    wait_until("An assignment", lambda: root.assignments())
    world.policy(DENY_NVME)
    assert reload(root) == 2
    assert not call.done
    with expect("PolicyDenied"):
        root.assign(NVME, "vm-2")
    root.simulate("ClearFaults")
    assignment = call.wait()[0]
    assert root.get(assignment, ASSIGNMENT, "State") == "active"
    made_by, = json.loads(root.get(assignment, ASSIGNMENT, "Policy"))
    assert made_by["devices"] == [NVME] and made_by["rule"]["pointer"] == "/defaults", made_by
    assert made_by["settings"]["owners"], "what was in force then"
    root.release(assignment)
    with expect("PolicyDenied"):
        root.assign(NVME)


# ---- CheckPolicy ----


@scenario
def a_text_is_checked_and_not_used(world):
    root = world.client()
    answer = json.loads(root.manager("CheckPolicy", "s", json.dumps(DENY_NVME))[0])
    assert answer["valid"] and answer["rules"] == 1 and answer["changed"], answer
    answer = json.loads(root.manager("CheckPolicy", "s", '{"version": 1, "defaults": {"assign": "maybe"}}')[0])
    problem, = answer["problems"]
    assert not answer["valid"] and problem["pointer"] == "/defaults/assign" and "maybe" in problem["found"], answer
    answer = json.loads(root.manager("CheckPolicy", "s", "")[0])
    assert answer["valid"] and not answer["changed"], answer
    with expect("Invalid", "4194304"):
        root.manager("CheckPolicy", "s", " " * (5 << 20))
    assert generation(root) == 1
    root.release(root.assign(NVME))
    with expect("Invalid", "no-such"):
        root.manager("ReloadPolicy", "a{sv}", {"no-such": GLib.Variant("b", True)})


# ---- devices that nobody asked for ----


def held_from(client, device):
    facts, = client.call(client.device(device), "org.pciassign1.Device", "GetFacts", "asa{sv}", ["use"], {})
    return facts["use"]["held_from"]


@bare
@scenario
def devices_that_are_there_are_held_or_claimed(world):
    world.start(policy=rules({"name": "hold", "match": {"kind": "nvme"}, "present": "hold", "assign": "deny"},
                             {"name": "claim", "match": {"driver": "habanalabs"}, "present": "claim"}))
    root = world.client()
    root.wait_property(root.device(NVME), "org.pciassign1.Device", "State", "held")
    root.wait_property(root.device(ACCELERATOR), "org.pciassign1.Device", "Driver", "")
    wait_until("The end of the jobs", lambda: all(
        i["org.pciassign1.Job"]["State"] not in ("queued", "running")
        for i in root.managed().values() if "org.pciassign1.Job" in i))
    assert root.driver(NVME) == "vfio-pci" and held_from(root, NVME) == "nvme"
    assert root.state(ACCELERATOR) == "available" and held_from(root, ACCELERATOR) == "habanalabs"
    assert explain(root, ACCELERATOR)["groups"][0]["members"][0]["rule"]["name"] == "claim"
    # What carries the host's own file systems is never taken, and what no rule names is left.
    assert root.driver("0000:05:00.0") == "nvme" and root.driver(NIC) == "mlx5_core"
    assert "left to the host" in world.daemon.text()
    with expect("PolicyDenied", '"hold"'):
        root.assign(NVME)
    assignment = root.assign(ACCELERATOR)
    assert root.driver(ACCELERATOR) == "vfio-pci"
    root.release(assignment)
    assert root.driver(ACCELERATOR) == "" and root.state(NVME) == "held"


@scenario
def a_device_that_comes_is_held(world):
    root = world.client()
    world.settled(root)
    world.policy(rules({"name": "new", "match": {"kind": "nvme"}, "present": "leave", "inserted": "hold"}))
    reload(root)
    device = next(d for d in json.loads(world.daemon.host.read_text())["devices"] if d["address"] == NVME)
    root.simulate("Remove", "s", NVME)
    with expect("NotFound"):
        root.device(NVME)
    root.simulate("Add", "s", json.dumps(device))
    root.wait_property(root.device(NVME), "org.pciassign1.Device", "State", "held")
    wait_until("What had it first", lambda: held_from(root, NVME) == "nvme")
    assert root.driver("0000:65:00.0") == "nvme", "what was there stays"
    root.release(root.assign(NVME))
    assert root.state(NVME) == "held"


@bare
@scenario
def virtual_functions_come_by_rule(world):
    world.start(policy=rules({"name": "vfs", "match": {"address": NIC, "sriov": "pf"}, "vfs": 4},
                             {"name": "of them", "match": {"sriov": "vf", "vendor": "15b3"},
                              "inserted": "hold"}))
    root = world.client()

    def made():
        return [d for d in root.manager("ListDevices", "a{sv}", {})[0] if d.get("PhysicalFunction") == NIC]
    wait_until("Four virtual functions, held", lambda: [d["State"] for d in made()] == ["held"] * 4)
    assert root.driver(NIC) == "mlx5_core", "the function itself stays with its driver"
    assert len([d for d in root.manager("ListDevices", "a{sv}", {})[0]
                if d.get("PhysicalFunction") == "0000:c3:00.0"]) == 4, "what has some is left alone"
    root.release(root.assign(made()[0]["Address"]))


# ---- the client ----

DATA = TOP / "tests" / "data" / "policy"
HOST_ARGUMENT = f"--snapshot={HOST}"


def ctl(world, *argv, status=0, bus=True, **keywords):
    """The finished process; its exit status is checked. bus False: there is none to talk to."""
    address = world.bus.address if bus else f"unix:path={world.directory}/nowhere"
    done = subprocess.run([CLIENT, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=LIMIT, check=False, **keywords,
                          env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address, "LC_ALL": "C.UTF-8"})
    assert done.returncode == status, f"{argv}: {done.returncode}, not {status}: {done.stdout}{done.stderr}"
    return done


@bare
@scenario
def check_needs_no_daemon(world):
    good = world.policy(DENY_NVME)
    assert "valid: 1 rules in 1 files" in ctl(world, "policy", "check", good, bus=False).stdout
    assert json.loads(ctl(world, "policy", "check", good.parent, "--json", bus=False).stdout)["files"] == [str(good)]
    bad = world.policy('{"version": 1,\n "defaults": {"assign": "maybe"}}', "60-bad.json")
    done = ctl(world, "policy", "check", good.parent, status=1, bus=False)
    assert f"{bad}:2:" in done.stdout and "/defaults/assign: found" in done.stdout and "maybe" in done.stdout
    document = json.loads(ctl(world, "policy", "check", bad, "--json", status=1, bus=False).stdout)
    assert not document["valid"] and document["problems"][0]["line"] == 2
    for path in (bad.parent / "nothing.json", "/dev/zero"):
        assert "found" in ctl(world, "policy", "check", path, status=1, bus=False).stdout
    ctl(world, "policy", "check", good, "--daemon=/nonexistent", status=1, bus=False)


@bare
@scenario
def schema_and_keys_need_no_daemon(world):
    schema = json.loads(ctl(world, "policy", "schema", bus=False).stdout)
    assert "rules" in schema["properties"], schema.keys()
    keys = json.loads(ctl(world, "policy", "keys", "--json", bus=False).stdout)
    assert {"assign", "owners", "limit"} <= {k["key"] for k in keys}
    table = ctl(world, "policy", "keys", bus=False).stdout
    assert all(k["key"] in table for k in keys)


@bare
@scenario
def a_replay_tells_what_would_change(world):
    """The golden text; tests/data/policy says what the two policies are."""
    arguments = ["policy", "replay", f"--snapshot={HOST}", "--owner=vm-1", "--policy=after"]
    done = ctl(world, *arguments, "--against=before", status=9, bus=False, cwd=DATA)
    assert done.stdout == (DATA / "replay.txt").read_text(), done.stdout
    document = json.loads(ctl(world, *arguments, "--against=before", "--json", status=9, bus=False, cwd=DATA).stdout)
    changed = [d for d in document["devices"] if d["changed"]]
    assert document["changed"] == len(changed) and len(document["devices"]) == 84
    gpu, = (d for d in changed if d["address"] == "0000:a1:00.0")
    assert gpu["before"]["assignable"] and not gpu["assignable"] and gpu["blockers"][0] == "policy-denied", gpu
    assert gpu["rule"]["name"] == "broken" and gpu["before"]["rule"]["name"] == "gpu-pool"
    ctl(world, *arguments, "--against=after", bus=False, cwd=DATA)
    alone = json.loads(ctl(world, *arguments, "--json", bus=False, cwd=DATA).stdout)
    assert "changed" not in alone and len(alone["devices"]) == 84
    stranger = json.loads(ctl(world, *arguments, "--uid=4711", "--json", bus=False, cwd=DATA).stdout)
    assert not any(d["assignable"] for d in stranger["devices"]), "nothing is granted to that user"
    assert "refused: " in ctl(world, *arguments, bus=False, cwd=DATA).stdout


@bare
@scenario
def a_replay_that_cannot_be_done(world):
    bad = world.policy("nonsense")
    done = ctl(world, "policy", "replay", HOST_ARGUMENT, f"--policy={bad}", status=1, bus=False)
    assert f"{bad}:1:1" in done.stdout, done.stdout + done.stderr
    assert not json.loads(ctl(world, "policy", "replay", HOST_ARGUMENT, f"--policy={bad}", "--json", status=1,
                              bus=False).stdout)["valid"]
    ctl(world, "policy", "replay", "--snapshot=/nonexistent", status=1, bus=False)
    ctl(world, "policy", "replay", f"--snapshot={bad}", status=1, bus=False)
    for words in (["replay"], ["nonsense"], ["replay", HOST_ARGUMENT, "word"], ["explain"], ["show", "x"]):
        ctl(world, "policy", *words, status=2, bus=False)
    ctl(world, "policy", status=2, bus=False)
    assert not list(Path(tempfile.gettempdir()).glob("pciassign-replay-*")), "the replay left something"


@scenario
def show_explain_and_reload(world):
    world.policy(rules({"name": "no-nvme", "match": {"kind": "nvme", "vendor": "ffff"}, "assign": "deny"},
                       {"name": "pool", "match": {"kind": "nvme"}, "limit": 3,
                        "owners": ["vm-*", *owners("web-*", users=[ALICE, BOB], groups=[44])]}))
    ctl(world, "policy", "reload")
    shown = ctl(world, "policy", "show").stdout
    assert shown.startswith("Policy 2\n") and "no-nvme" in shown and "kind nvme" in shown, shown
    assert f"vm-*, web-* (users {ALICE}, {BOB}; groups 44)" in shown, shown
    document = json.loads(ctl(world, "policy", "show", "--json").stdout)
    assert [r["rule"] for r in document["rules"]] == ["no-nvme", "pool"] and document["generation"] == 2
    for words in (["policy", "explain"], ["explain"]):
        text = ctl(world, *words, NVME, "--owner=vm-1").stdout
        assert "can be assigned" in text and "vendor is " in text and "not ffff" in text, text
        assert "pool (/etc/pciassignd/policy.d/50-tests.json:1)" in text and "limit: 3 (enforced" in text, text
        assert "owner vm-1: granted" in text, text
    document = json.loads(ctl(world, "policy", "explain", NVME, "--owner=other", "--json", status=4).stdout)
    walk = document["policy"]
    assert [r["matched"] for r in walk["rules"]] == [False, True] and walk["rules"][0]["failed"][0]["key"] == "vendor"
    assert walk["holds"]["pointer"] == "/rules/1" and not walk["owner"]["granted"]
    plan = json.loads(ctl(world, "plan", NVME, "--owner=vm-1", "--json").stdout)
    made_by, = plan["policy"]
    assert made_by["devices"] == [NVME] and made_by["rule"]["name"] == "pool" and made_by["settings"]["limit"] == 3
    world.policy("nonsense")
    done = ctl(world, "policy", "reload", status=2)
    assert "50-tests.json:1:1" in done.stderr, done.stderr


@bare
@scenario
def rules_are_tried_in_a_simulation(world):
    """sim run has a root of its own for settings and rules; those of this host do not reach into it."""
    script = (f'set -e; folder=$PCIASSIGN_SIM_DIR/etc/pciassignd/policy.d; mkdir -p $folder; "$0" settle; '
              f'"$0" explain {NVME}; cp "$1" $folder/50-new.json; "$0" policy reload; "$0" explain {NVME}')
    path = world.policy(DENY_NVME)
    done = ctl(world, "sim", "run", HOST, "--", "sh", "-c", script, CLIENT, path, status=4)
    assert done.stdout.index("can be assigned") < done.stdout.index("cannot be assigned"), done.stdout
    assert "no-nvme" in done.stdout and "policy-denied" in done.stdout

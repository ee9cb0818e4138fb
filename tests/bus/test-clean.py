# SPDX-License-Identifier: LGPL-2.1-or-later
"""Between two owners: reset, readiness, comparison and hooks of a release, what a failure of each leaves, and the way out
of quarantine; on the simulated host, and with the real worker over a made tree, where hooks really run."""

import json
import stat
import sys

from harness import (ADMIN_GID, ALICE, ASSIGNMENT, BUILD, DAEMON, DEVICE, EVERYBODY_OWNS, HOST, TOP, Daemon, GLib, expect,
                     options, scenario)

sys.path.append(str(TOP / "tests/tools"))

import tree_kernel  # noqa: E402

NVME, OTHER = "0000:45:00.0", "0000:65:00.0"
CLEANING = ["hold-power", "reset", "await-ready", "compare-config"]


def bare(function):
    function.bare = True
    return function


def cleaning(c, device=NVME):
    facts, = c.call(c.device(device), DEVICE, "GetFacts", "asa{sv}", ["cleaning"], {})
    return facts["cleaning"]


def inject(c, step, kind, device=NVME, **keywords):
    numbers = {k: GLib.Variant("t" if k == "delay" else "u", v) for k, v in keywords.items()}
    c.simulate("Inject", "ssa{sv}", step, device, options(kind=kind, **numbers))


def rules(**clean):
    return {**EVERYBODY_OWNS, "rules": [{"name": "nvme", "match": {"class": "0108"}, "clean": clean}]}


def quarantined(c, word, device=NVME):
    found = cleaning(c, device)
    assert c.state(device) == found["state"] == "quarantined", found
    assert word in found["quarantine"], (word, found["quarantine"])
    cycle = found["cycles"][-1]
    assert cycle["outcome"] == "quarantined" and word in cycle["reason"], cycle
    return cycle


@scenario
def a_release_is_a_verified_cleaning(world):
    c = world.client()
    assert cleaning(c)["state"] == "clean" and cleaning(c)["cycles"] == []
    assignment = c.assign(NVME)
    assert cleaning(c)["state"] == "dirty" and cleaning(c)["last-owner"] == "vm-1"
    c.watch()
    c.release(assignment)
    c.wait_signal("PropertiesChanged", lambda path, v: path == assignment and v[1].get("State") == "released")
    states = [v[1]["State"] for p, _i, m, v in c.signals
              if m == "PropertiesChanged" and p == assignment and "State" in v[1]]
    assert states.index("cleaning") < states.index("released"), states
    found = cleaning(c)
    assert found["state"] == "clean", found
    cycle, = found["cycles"]
    assert cycle["outcome"] == "verified" and cycle["owner"] == "vm-1" and cycle["at"] > 0, cycle
    assert [s["step"] for s in cycle["steps"] if s["step"] in CLEANING] == CLEANING, cycle
    assert all(s["outcome"] == "done" for s in cycle["steps"]), cycle
    assert "nothing differs" in cycle["steps"][-1]["evidence"], cycle
    assert c.driver(NVME) == "nvme"


@scenario
def each_failure_of_cleaning_quarantines(world):
    c = world.client()
    for step, kind, word, keywords in (("hold-power", "error", "EIO", {"error": 5}),
                                       ("reset", "error", "EIO", {"error": 5}),
                                       ("reset", "altered", "not configured as before", {}),
                                       ("await-ready", "error", "did not answer", {"error": 110}),
                                       ("compare-config", "error", "does not answer", {"error": 5})):
        assignment = c.assign(NVME)
        inject(c, step, kind, times=1, **keywords)
        c.watch()
        c.release(assignment)
        quarantined(c, word)
        c.wait_signal("Quarantined", lambda path, values: values[1] == NVME and word in values[2])
        assert c.driver(NVME) == "vfio-pci" and c.assignments() == []
        with expect("Quarantined", NVME):
            c.assign(NVME, "vm-1")
        if kind == "altered":
            inject(c, "reset", "altered", times=1)  # back to what it was
        c.call(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})
        assert (c.state(NVME), c.driver(NVME)) == ("host", "nvme"), step
        assert cleaning(c)["state"] == "clean", (step, cleaning(c))


@scenario
def a_slow_device_is_waited_for_and_a_dead_one_is_not_trusted(world):
    c = world.client()
    for kind in ("rrs", "all-ones"):
        assignment = c.assign(NVME)
        inject(c, "reset", kind, times=1, delay=300_000)
        c.release(assignment)
        assert (c.state(NVME), cleaning(c)["state"]) == ("host", "clean"), kind
    assignment = c.assign(NVME)
    inject(c, "reset", "all-ones", times=1)
    call = c.send(assignment, ASSIGNMENT, "Release", "a{sv}", {})
    while not call.done:
        c.simulate("Advance", "t", 30_000_000)
    call.wait()
    cycle = quarantined(c, "did not answer")
    assert [s["outcome"] for s in cycle["steps"] if s["step"] == "await-ready"] == ["failed"], cycle
    with expect("Failed", "did not answer"):
        call = c.send(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})
        while not call.done:
            c.simulate("Advance", "t", 30_000_000)
        call.wait()
    assert c.state(NVME) == "quarantined"


@scenario
@bare
def what_nothing_resets_goes_back_to_its_last_owner_alone(world):
    world.start(change=lambda host: [d["attributes"].pop("reset_method", None) for d in host["devices"]
                                     if d["address"] == NVME])
    c = world.client()
    world.settled(c)
    c.release(c.assign(NVME, "vm-1"))
    found = cleaning(c)
    assert found["state"] == "dirty" and found["last-owner"] == "vm-1" and not found["can-be-cleaned"], found
    assert found["cycles"][-1]["outcome"] == "dirty", found
    with expect("NotSupported", "vm-1"):
        c.assign(NVME, "vm-2")
    with expect("NotSupported", "vm-1"):
        world.client(ALICE, [ADMIN_GID]).assign(NVME, "vm-1")  # the same name, another user
    c.release(c.assign(NVME, "vm-1"))
    with expect("NotSupported", "no reset method"):
        c.call(c.device(NVME), DEVICE, "Quarantine", "sa{sv}", "looks odd", {})
        c.call(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})


@scenario
def listed_methods_that_do_not_work_leave_it_dirty(world):
    c = world.client()
    assignment = c.assign(NVME)
    inject(c, "reset", "error", error=25)
    c.release(assignment)
    assert (c.state(NVME), c.driver(NVME)) == ("host", "nvme")
    found = cleaning(c)
    assert found["state"] == "dirty" and "works" in found["cycles"][-1]["reason"], found
    with expect("NotSupported", "vm-1"):
        c.assign(NVME, "vm-2")
    c.release(c.assign(NVME))


@scenario
@bare
def a_rule_that_demands_a_reset_gets_it(world):
    world.start(policy=rules(reset=["flr"]))
    c = world.client()
    world.settled(c)
    c.release(c.assign(NVME))
    steps = [s for s in cleaning(c)["cycles"][-1]["steps"] if s["step"] == "set-reset-method"]
    assert cleaning(c)["state"] == "clean" and (not steps or steps[0]["value"] == "flr"), cleaning(c)
    assignment = c.assign(NVME)
    inject(c, "reset", "error", error=25)
    c.release(assignment)
    quarantined(c, "no such reset")


@scenario
@bare
def a_dirty_one_is_cleaned_before_another_owner(world):
    world.start(policy=rules(reset=[]))
    c = world.client()
    world.settled(c)
    c.release(c.assign(NVME, "vm-1"))
    assert cleaning(c)["state"] == "dirty" and "rule" in cleaning(c)["cycles"][-1]["reason"]
    with expect("NotSupported", "vm-1"):
        c.assign(NVME, "vm-2")
    world.policy(EVERYBODY_OWNS)
    c.manager("ReloadPolicy", "a{sv}", {})
    assignment = c.assign(NVME, "vm-2")
    cycle = cleaning(c)["cycles"][-1]
    assert (cycle["outcome"], cycle["owner"]) == ("verified", "vm-1"), cycle
    assert cleaning(c)["last-owner"] == "vm-2"
    c.release(assignment)
    assert cleaning(c)["state"] == "clean"


@scenario
def quarantine_by_hand_keeps_everybody_out(world):
    c = world.client()
    c.call(c.device(NVME), DEVICE, "Quarantine", "sa{sv}", "smells of smoke", {})
    assert c.state(NVME) == "quarantined" and c.driver(NVME) == "nvme"
    with expect("Quarantined", "smells of smoke"):
        c.assign(NVME)
    c.call(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})
    assert (c.state(NVME), c.driver(NVME)) == ("host", "nvme"), (c.state(NVME), c.driver(NVME), cleaning(c))
    with expect("Invalid", "not quarantined"):
        c.call(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})
    with expect("Invalid"):
        c.call(c.device(NVME), DEVICE, "Quarantine", "sa{sv}", "", {})
    c.release(c.assign(NVME))


# ---- hooks, by the real worker ----

HOOKS = {
    "agrees": "#!/bin/sh\ncat\n",
    "not-mine": "#!/bin/sh\necho of another make\nexit 2\n",
    "vetoes": "#!/bin/sh\necho 'the firmware is too old'\nexit 1\n",
    "refuses-cleaning": "#!/bin/sh\nread -r line\ncase $line in *before-assign*) exit 2;; esac\necho memory not zero\nexit 3\n",
    "prints-much": "#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\n",
    "prints-garbage": "#!/bin/sh\nprintf '\\377\\376\\033[2J\\001'\n",
    "dies": "#!/bin/sh\nkill -9 $$\n",
    "looks": "#!/bin/sh\nid -u\nls /proc/self/fd | wc -l\nenv | grep -c PRELOAD\ngrep -c 'NoNewPrivs:.1' /proc/self/status\n",
    "leaves-one": "#!/bin/sh\nsetsid sh -c 'trap \"\" TERM; sleep 1000' >/dev/null 2>&1 &\necho left\n",
}


class TreeDaemon(Daemon):
    def command(self):
        return [DAEMON, f"--config-root={self.directory}", f"--root={self.host}", f"--bus={self.bus.address}",
                f"--runtime-dir={self.directory}/run", f"--state-dir={self.directory}/state",
                f"--worker-path={BUILD}/pciassign-worker", "--log-level=info"]


def over_tree(world, *names):
    """A daemon over a tree with a played kernel, and a rule with these hooks. Returns the client and hooks.d."""
    host = tree_kernel.part_of(json.loads(HOST.read_text()), [NVME])
    kernel = tree_kernel.TreeKernel(host, world.directory / "tree").start()
    world.opened.append(type("Stop", (), {"close": lambda self: kernel.stop()})())
    hooks = world.directory / "tree/etc/pciassignd/hooks.d"
    hooks.mkdir(parents=True)
    for name, text in HOOKS.items():
        (hooks / name).write_text(text)
        (hooks / name).chmod(0o755)
    directory = hooks
    while directory != world.directory.parent:  # a hook's user has to reach it
        directory.chmod(directory.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
        directory = directory.parent
    world.settings()
    world.policy(rules(hooks=list(names)))
    world.daemon = TreeDaemon(world.bus, world.directory, world.directory / "tree",
                              environment=kernel.environment(BUILD)).start()
    c = world.client()
    world.settled(c)
    return c, hooks


def hook_steps(c):
    return {s["value"]: s for s in cleaning(c)["cycles"][-1]["steps"] if s["step"] == "hook"}


@scenario
@bare
def hooks_run_and_are_told_and_heard(world):
    c, _hooks = over_tree(world, "agrees", "not-mine", "prints-much", "prints-garbage", "looks", "leaves-one")
    c.release(c.assign(NVME, "vm-7"))
    assert (c.state(NVME), cleaning(c)["state"]) == ("host", "clean"), cleaning(c)
    steps = hook_steps(c)
    told = json.loads(steps["agrees"]["evidence"])
    assert (told["event"], told["owner"], told["device"]["address"]) == ("clean", "vm-7", NVME), told
    assert told["rule"]["name"] == "nvme" and told["node"].startswith("/dev/vfio/"), told
    assert steps["not-mine"]["evidence"] == "not mine: of another make"
    assert "bytes more" in steps["prints-much"]["evidence"] and len(steps["prints-much"]["evidence"]) < 5000
    assert "\033" not in steps["prints-garbage"]["evidence"]
    uid, fds, preload, no_new_privileges = steps["looks"]["evidence"].split()
    assert uid != "0" and int(fds) <= 4 and preload == "0" and no_new_privileges == "1", steps["looks"]
    assert steps["leaves-one"]["evidence"] == "left" and steps["leaves-one"]["usec"] < 20_000_000
    assert c.driver(NVME) == "nvme"


@scenario
@bare
def a_hook_vetoes_before_anything_is_done(world):
    c, _hooks = over_tree(world, "vetoes")
    with expect("PolicyDenied", "firmware is too old"):
        c.assign(NVME)
    assert (c.state(NVME), c.driver(NVME), cleaning(c)["state"]) == ("host", "nvme", "clean")


@scenario
@bare
def a_hook_that_fails_quarantines(world):
    c, hooks = over_tree(world, "refuses-cleaning")
    c.release(c.assign(NVME))
    cycle = quarantined(c, "memory not zero")
    assert hook_steps(c)["refuses-cleaning"]["error"] == "EACCES", cycle
    assert c.driver(NVME) == "vfio-pci"
    with expect("PolicyDenied", "memory not zero"):
        c.call(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})
    assert c.state(NVME) == "quarantined"
    (hooks / "refuses-cleaning").write_text(HOOKS["agrees"])
    c.call(c.device(NVME), DEVICE, "Unquarantine", "a{sv}", {})
    assert (c.state(NVME), c.driver(NVME)) == ("host", "nvme")


@scenario
@bare
def a_hook_has_to_be_roots_alone(world):
    c, hooks = over_tree(world, "agrees")
    for change, word in ((lambda f: f.chmod(0o777), "not a file of root"),
                         (lambda f: f.chmod(0o644), "cannot be executed"),
                         (lambda f: (f.unlink(), f.symlink_to("/bin/true")), "not a file of root"),
                         (lambda f: f.unlink(), "no such hook"),
                         (lambda f: (f.write_text(HOOKS["dies"]), f.chmod(0o755)), "ended by a signal")):
        change(hooks / "agrees")
        with expect("Failed", word):
            c.assign(NVME)
    (hooks / "agrees").unlink()
    (hooks / "agrees").symlink_to("/dev/null")  # masked
    c.release(c.assign(NVME))
    assert hook_steps(c)["agrees"]["evidence"] == "masked"

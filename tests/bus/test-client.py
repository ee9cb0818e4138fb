# SPDX-License-Identifier: LGPL-2.1-or-later
"""pciassignctl: every verb with its exit codes and JSON, on terminals and not, around a monitor, without a daemon."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys

from harness import ALICE, CLIENT, HOST, LIMIT, TOP, scenario

NVME, OTHER_NVME = "0000:45:00.0", "0000:65:00.0"
GPU, GPU_AUDIO, ROUTE_NIC, NIC = "0000:41:00.0", "0000:41:00.1", "0000:04:00.0", "0000:43:00.0"
PHYSICAL, NO_ASSIGNMENT = "0000:a3:00.0", "0" * 32
LIST_KEYS = {"address", "vendor", "device", "class", "driver", "iommu_group", "numa_node", "state", "health", "owner",
             "assignable", "blockers"}
HOLDER = "import sys; print('up', *sys.argv[1:], flush=True); sys.stdin.read()"


def environment(world):
    return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": world.bus.address, "LC_ALL": "C.UTF-8"}


def ctl(world, *argv, status=0, **keywords):
    """The finished process; its exit status is checked."""
    done = subprocess.run([CLIENT, *argv], env=environment(world), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=LIMIT, check=False, **keywords)
    assert done.returncode == status, f"{argv}: {done.returncode}, not {status}: {done.stdout}{done.stderr}"
    return done


def ctl_json(world, *argv, status=0):
    return json.loads(ctl(world, *argv, "--json", status=status).stdout)


def settled(world):
    client = world.client()
    world.settled(client)
    return client


def on_terminal(world, *argv, variables=None):
    """Exit status and output of the client on a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(CLIENT, [CLIENT, *argv], {**environment(world), "TERM": "xterm", **(variables or {})})
    output = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        output += data
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return os.waitstatus_to_exitcode(status), output.decode()


# ---- looking ----

@scenario
def no_verb_lists(world):
    settled(world)
    text = ctl(world).stdout
    assert text == ctl(world, "list").stdout
    assert len(text.splitlines()) == 85 and "\033" not in text
    assert re.search(rf"^{GPU} .*nvidia.*group-member$", text, re.M)


@scenario
def list_json_has_the_promised_keys(world):
    settled(world)
    devices = ctl_json(world, "list")
    assert len(devices) == 84 and all(LIST_KEYS <= set(d) for d in devices)
    assert [d["address"] for d in devices] == sorted(d["address"] for d in devices)
    gpu = next(d for d in devices if d["address"] == GPU)
    assert (gpu["vendor"], gpu["class"], gpu["driver"], gpu["iommu_group"], gpu["owner"], gpu["state"]) == \
        ("10de", "030000", "nvidia", 21, None, "host")
    assert next(d for d in devices if d["address"] == "0000:00:00.0")["driver"] is None


@scenario
def lists_are_selected(world):
    settled(world)
    assert {d["address"] for d in ctl_json(world, "list", "41:*")} == {GPU, GPU_AUDIO}
    assert {d["address"] for d in ctl_json(world, "list", "nvme1")} == {NVME}
    assert all(d["assignable"] for d in ctl_json(world, "list", "--assignable"))
    assert ctl_json(world, "list", "--owner=nobody") == []
    assert ctl_json(world, "list", "--assignments") == []


@scenario
def tree_and_groups(world):
    settled(world)
    roots = ctl_json(world, "tree")
    found, todo = {}, [(r, None) for r in roots]
    while todo:
        node, parent = todo.pop()
        found[node["address"]] = parent
        todo += [(below, node["address"]) for below in node["below"]]
    assert len(found) == 84 and found[GPU] is not None and found["0000:00:00.0"] is None
    assert found[found[GPU]] is not None  # behind a switch
    groups = ctl_json(world, "groups")
    assert len(groups) == 71 and [g["iommu_group"] for g in groups] == list(range(71))
    assert groups[21]["devices"] == [GPU, GPU_AUDIO]
    assert len(ctl(world, "groups").stdout.splitlines()) == 72
    assert len(ctl(world, "tree").stdout.splitlines()) == 85


@scenario
def show_has_all_topics(world):
    settled(world)
    shown = ctl_json(world, "show", GPU)
    assert LIST_KEYS <= set(shown) and {"identity", "use", "iommu", "resources", "errors"} <= set(shown["facts"])
    assert list(ctl_json(world, "show", "41:00.0", "--topic=iommu")["facts"]) == ["iommu"]
    assert [d["address"] for d in ctl_json(world, "show", GPU, NVME)] == [GPU, NVME]
    text = ctl(world, "show", GPU).stdout
    assert "NVIDIA" in text and "\n  iommu\n" in text and "\n  resources\n" not in text
    assert "\n  resources\n" in ctl(world, "show", GPU, "--topic=all").stdout
    assert ctl_json(world, "show", "nvme1", "--refresh")["address"] == NVME


@scenario
def what_is_not_there_is_not_found(world):
    for argv in (["show", "99:00.0"], ["show", "nonesuch"], ["show", NO_ASSIGNMENT], ["release", NVME],
                 ["release", NO_ASSIGNMENT], ["assign", "99:00.0"], ["explain", "nonesuch"], ["reset", "nonesuch"],
                 ["vfs", "nonesuch", "1"], ["cancel", "99"], ["events", NO_ASSIGNMENT],
                 ["run", "99:00.0", "--", "true"], ["open", NO_ASSIGNMENT, "--", "true"]):
        done = ctl(world, *argv, status=3)
        assert done.stderr.startswith("pciassignctl: ") and not done.stdout, argv


@scenario
def wrong_arguments_are_usage(world):
    for argv in (["nonsense"], ["--nonsense"], ["show"], ["list", "--uid=1"], ["assign"], ["assign", NVME, "--lifetime=x"],
                 ["assign", NVME, "--uid=no-such-user"], ["assign", NVME, "--memlock=12Q"], ["assign", NVME, "--force"],
                 ["assign", NVME, "--reason=x"], ["assign", NVME, "--label=x"], ["assign", NVME, "--lifetime=process"],
                 ["assign", NVME, "--pid=1"], ["assign", NVME, "--pid=0"], ["assign", NVME, "--group=some"],
                 ["assign", NVME, "--attach-within=soon"], ["assign", NVME, "--owner="], ["assign", NVME, "--owner=a\nb"],
                 ["run", NVME], ["run", "--", "true"], ["run", NVME, "--", "true", "{address.1}"], ["list", "--", "x"],
                 ["vfs", NVME, "many"], ["cancel", "x"], ["--color=maybe"], ["tree", "extra"], ["attach", NVME],
                 ["sim", "dance"], ["sim", "advance"], ["sim", "advance", "soon"], ["sim", "inject", "unbind", GPU, "x=1"],
                 ["assign", NVME, "--driver"], ["acknowledge", NVME, "x"], ["list", "--assignments", NVME]):
        done = ctl(world, *argv, status=2)
        assert done.stderr.startswith("pciassignctl: ") and not done.stdout, argv


@scenario
def help_and_version_ask_nobody(world):
    text = ctl(world, "--help", "--bus=unix:path=/nonexistent").stdout
    verbs = re.findall(r"^  ([a-z]+) ", text.split("Options:")[0], re.M)
    assert len(verbs) == 28
    manual = (TOP / "client" / "pciassignctl.1.rst").read_text()
    for verb in verbs:
        own = ctl(world, verb, "--help").stdout
        assert own.startswith(f"pciassignctl {verb}"), verb
        assert f"**{verb}**" in manual or f"**{verb} " in manual, f"the manual does not tell of {verb}"
        for option in re.findall(r"^  (--[a-z-]+)", own, re.M):
            assert f"**{option}" in manual, f"the manual does not tell of {option}"
    assert re.fullmatch(r"pciassignctl \d+\.\d+\.\d+\n", ctl(world, "--version").stdout)


@scenario
def json_keys_are_in_the_manual(world):
    settled(world)
    manual = (TOP / "client" / "pciassignctl.1.rst").read_text()
    granted = ctl_json(world, "assign", NVME)
    documents = [ctl_json(world, "list")[0], ctl_json(world, "tree")[0], granted, ctl_json(world, "groups")[0],
                 ctl_json(world, "jobs")[0], ctl_json(world, "jobs")[0]["steps"][0], ctl_json(world, "doctor"),
                 ctl_json(world, "doctor")["checks"][0], ctl_json(world, "plan", OTHER_NVME),
                 ctl_json(world, "assign", NVME, "--owner=else", status=5),
                 *ctl_json(world, "show", ROUTE_NIC)["facts"].values()]
    for key in {k for d in documents for k in d}:
        assert f"``{key}``" in manual, f"the manual does not tell of the key {key}"


# ---- deciding ----

@scenario
def explain_and_plan_say_why(world):
    settled(world)
    said = ctl(world, "explain", ROUTE_NIC, "--owner=vm-7", status=4).stdout
    assert "cannot be assigned" in said and "host-route" in said and "default route" in said and "remedy:" in said
    assert ctl_json(world, "explain", NVME)["assignable"] is True
    assert "can be assigned" in ctl(world, "explain", NVME).stdout
    plan = ctl_json(world, "plan", GPU, "--group=take-all")
    assert plan["assignable"] and plan["token"]
    assert {d["address"] for d in plan["plan"]["devices"]} == {GPU, GPU_AUDIO}
    assert any(s["undo"] == f"bind {GPU} to nvidia" for s in plan["plan"]["steps"])
    text = ctl(world, "plan", GPU, "--group=take-all").stdout
    assert f"Token: {plan['token']}" in text and f"undo: bind {GPU} to nvidia" in text
    assert "group-member" in ctl(world, "plan", GPU, status=4).stdout
    assert ctl(world, "assign", GPU, "--group=take-all", "--dry-run").stdout == text
    assert ctl_json(world, "list", "--assignments") == []


@scenario
def refusals_are_data(world):
    settled(world)
    document = ctl_json(world, "assign", ROUTE_NIC, status=4)
    assert document["error"] == "HostCritical" and document["exit_code"] == 4
    blocker, = [b for b in document["details"]["blockers"] if b["code"] == "host-route"]
    assert blocker["device"] == ROUTE_NIC and blocker["remedy"] and blocker["proof"] in document["message"]
    assert ctl_json(world, "assign", GPU, status=4)["error"] == "NotViable"
    ctl(world, "assign", NVME, "--owner=vm-a")
    assert ctl_json(world, "assign", NVME, "--owner=vm-b", status=5)["error"] == "Owned"


@scenario
def a_stale_token_does_nothing(world):
    client = settled(world)
    token = ctl_json(world, "plan", NVME)["token"]
    client.simulate("Rebind", "ss", NVME, "")
    client.wait_property(client.device(NVME), "org.pciassign1.Device", "Driver", "")
    assert "hanged since the plan" in ctl(world, "assign", NVME, f"--token={token}", status=9).stderr
    assert ctl_json(world, "list", "--assignments") == []


@scenario
def doctor_of_a_good_and_a_bad_host(world):
    settled(world)
    good = ctl_json(world, "doctor")
    assert good["result"] == "ok" and good["exit-code"] == 0
    assert "can assign devices" in ctl(world, "doctor").stdout
    world.daemon.stop()

    def no_iommu(host):
        host["platform"]["iommu-present"] = False
        for device in host["devices"]:
            device["links"].pop("iommu_group", None)
            device["links"].pop("iommu", None)
        host["groups"], host["iommus"] = [], []
    world.start(change=no_iommu)
    settled(world)
    assert ctl_json(world, "doctor", status=4)["result"] == "fail"
    said = ctl(world, "doctor", status=4).stdout
    assert "This host cannot assign devices." in said and "remedy: " in said


# ---- doing ----

@scenario
def assign_open_release(world):
    client = settled(world)
    granted = ctl_json(world, "assign", GPU, "--owner=vm-7", "--group=take-all", "--label=a=b", "--label=c=d=e",
                       "--request-id=r1")
    assert (granted["devices"], granted["parked"], granted["group"], granted["owner"], granted["state"]) == \
        ([GPU], [GPU_AUDIO], 21, "vm-7", "active")
    assert granted["labels"] == {"a": "b", "c": "d=e"} and granted["lifetime"] == "persistent"
    again = ctl_json(world, "assign", GPU, "--owner=vm-7", "--group=take-all", "--label=a=b", "--label=c=d=e",
                     "--request-id=r1")
    assert again["assignment"] == granted["assignment"]
    ctl(world, "assign", GPU, "--owner=vm-7", "--request-id=r1", status=2)
    assert ctl_json(world, "show", granted["assignment"])["owner"] == "vm-7"
    assert ctl_json(world, "list", "--owner=vm-?")[0]["state"] == "assigned"
    done = ctl(world, "open", granted["assignment"], "--", sys.executable, "-c",
               "import os, sys; [os.fstat(int(n)) for n in sys.argv[1:4]]; print(*sys.argv[4:])",
               "{container}", "{group}", "{vfio}", "{address}", '{"driver":"{x}"}')
    assert done.stdout == GPU + ' {"driver":"{x}"}\n'
    assert "released" in ctl(world, "release", GPU).stdout
    assert client.driver(GPU) == "nvidia" and client.driver(GPU_AUDIO) == "snd_hda_intel"
    jobs = ctl_json(world, "jobs")
    assert [(j["kind"], j["state"]) for j in jobs] == [("assign", "done"), ("release", "done")]
    assert jobs[0]["done"] == jobs[0]["total"] == len(jobs[0]["steps"])
    ctl(world, "release", NVME, GPU, status=3)


@scenario
def no_wait_names_the_job(world):
    client = settled(world)
    told = ctl_json(world, "assign", NVME, "--no-wait")
    assert set(told) == {"assignment", "job"} and told["job"].isdigit()
    client.wait_property(client.device(NVME), "org.pciassign1.Device", "State", "assigned")
    word, number, *_ = ctl(world, "release", NVME, "--no-wait").stdout.split()
    assert word == "job" and number.isdigit()
    client.wait_property(client.device(NVME), "org.pciassign1.Device", "Driver", "nvme")
    assert [j["state"] for j in ctl_json(world, "jobs")] == ["done", "done"]


@scenario
def a_failed_step_is_told(world):
    settled(world)
    ctl(world, "sim", "inject", "probe", NVME, "kind=error", "error=EIO", "times=1")
    done = ctl(world, "assign", NVME, status=1)
    assert NVME in done.stderr
    failed = ctl_json(world, "jobs")[-1]
    assert failed["state"] == "failed" and failed["result"]["message"]
    assert ctl_json(world, "list", NVME)[0]["driver"] == "nvme"
    ctl(world, "sim", "clear")
    ctl(world, "assign", NVME)


@scenario
def connection_assignments_live_as_long_as_the_command(world):
    client = settled(world)
    with subprocess.Popen([CLIENT, "assign", NVME, "--lifetime=connection", "--owner=vm-c"], env=environment(world),
                          stdout=subprocess.PIPE, text=True) as command:
        assert "active" in command.stdout.readline()
        assert client.state(NVME) == "assigned"
        command.send_signal(signal.SIGKILL)
    client.wait_property(client.device(NVME), "org.pciassign1.Device", "State", "host")


@scenario
def attach_hands_over(world):
    client = settled(world)
    ctl(world, "assign", NVME, "--owner=vm-p", "--attach-within=1h")
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as vmm:
        vmm.stdout.readline()
        ctl(world, "attach", NVME, f"--pid={vmm.pid}")
        assert ctl_json(world, "list", "--assignments")[0]["pid"] == vmm.pid
        vmm.kill()
    client.wait_property(client.assignments()[0]["Object"], "org.pciassign1.Assignment", "State", "reserved")
    ctl(world, "release", NVME)
    ctl(world, "attach", NVME, "--pid=1", status=3)


# ---- run ----

def run_toy(world, *options, words=(), code=HOLDER):
    return subprocess.Popen([CLIENT, "run", NVME, *options, "--", sys.executable, "-c", code, *words],
                            env=environment(world), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@scenario
def run_gives_the_commands_status(world):
    client = settled(world)
    done = ctl(world, "run", NVME, "--owner=vm-r", "--", "sh", "-c", 'echo "$0"; exit 7', "{address}", status=7)
    assert done.stdout == NVME + "\n" and not done.stderr
    assert client.driver(NVME) == "nvme" and ctl_json(world, "list", "--assignments") == []
    assert "cannot execute" in ctl(world, "run", NVME, "--", "/no/such/vmm", status=127).stderr
    assert "cannot execute" in ctl(world, "run", NVME, "--", "/etc/passwd", status=126).stderr
    assert client.driver(NVME) == "nvme" and ctl_json(world, "list", "--assignments") == []
    ctl(world, "run", ROUTE_NIC, "--", "sh", "-c", "echo never", status=4)


@scenario
def run_passes_descriptors_and_keeps_none(world):
    client = settled(world)
    with run_toy(world, "--owner=vm-r", words=["{container}", "{group}", "{vfio}", "{address}"]) as run:
        line = run.stdout.readline().split()
        assert line[0] == "up" and line[-1] == NVME and len(set(line[1:4])) == 3
        assert client.state(NVME) == "assigned" and ctl_json(world, "list", "--assignments")[0]["lifetime"] == "process"
        run.stdin.close()
        assert run.wait(LIMIT) == 0  # the release would wait for a copy that we kept
    assert client.driver(NVME) == "nvme"


@scenario
def placeholders_choose_the_way(world):
    """The simulated host has groups only: what asks for an iommufd is refused for that, not given a group."""
    settled(world)
    for options, word, said in (((), "{iommufd}", "no VFIO character devices"),
                                (("--api=cdev",), "{vfio}", "no VFIO character devices"),
                                (("--api=group",), "{iommufd}", "use {container} and {group}")):
        with run_toy(world, *options, words=[word]) as run:
            _out, err = run.communicate(timeout=LIMIT)
            assert run.returncode == 1 and said in err, (word, run.returncode, err)
    with run_toy(world, words=["{vfio}"]) as run:
        assert run.stdout.readline().split()[0] == "up"
        run.stdin.close()
        assert run.wait(LIMIT) == 0


@scenario
def run_ends_with_a_killed_monitor(world):
    client = settled(world)
    with run_toy(world, words=["{group}"]) as run:
        run.stdout.readline()
        pid = ctl_json(world, "list", "--assignments")[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        assert run.wait(LIMIT) == 128 + signal.SIGKILL
    assert client.driver(NVME) == "nvme" and client.assignments() == []


@scenario
def run_passes_signals_on(world):
    settled(world)
    code = ("import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
            "print('up', flush=True)\n"
            "sys.stdin.read()")
    with run_toy(world, code=code) as run:
        run.stdout.readline()
        run.send_signal(signal.SIGTERM)
        assert run.wait(LIMIT) == 5


@scenario
def killed_run_leaves_the_monitor_its_device(world):
    client = settled(world)
    with run_toy(world, words=["{group}"]) as run:
        run.stdout.readline()
        pid = ctl_json(world, "list", "--assignments")[0]["pid"]
        run.kill()
        run.wait(LIMIT)
        assert client.state(NVME) == "assigned"
        os.kill(pid, signal.SIGKILL)
    client.wait_property(client.device(NVME), "org.pciassign1.Device", "State", "host")


@scenario
def run_gives_up_privileges(world):
    settled(world)
    done = ctl(world, "run", NVME, f"--uid={ALICE}", f"--gid={ALICE}", "--", sys.executable, "-c",
               "import os; print(os.getresuid(), os.getresgid(), os.getgroups())")
    assert done.stdout == f"{(ALICE,) * 3} {(ALICE,) * 3} [{ALICE}]\n"


# ---- following ----

@scenario
def monitor_tells_each_change(world):
    settled(world)
    with subprocess.Popen([CLIENT, "monitor", "--json"], env=environment(world), stdout=subprocess.PIPE,
                          text=True) as monitor:
        # The answer to its own question means that it listens; asking again and again does no harm.
        seen = []
        assigned = False
        while not any(s["signal"] == "PropertiesChanged" and s["arguments"][1].get("State") == "assigned" for s in seen):
            if not select.select([monitor.stdout], [], [], 0.2)[0]:
                ctl(world, "release" if assigned else "assign", NVME)
                assigned = not assigned
                continue
            seen.append(json.loads(monitor.stdout.readline()))
        assert all({"time_usec", "signal", "object", "interface", "arguments"} == set(s) for s in seen)
        monitor.terminate()


@scenario
def monitor_tells_that_the_daemon_ended(world):
    settled(world)
    with subprocess.Popen([CLIENT, "monitor"], env=environment(world), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True) as monitor:
        while not select.select([monitor.stdout], [], [], 0.2)[0]:
            ctl(world, "rescan")
            ctl(world, "assign", NVME)
            ctl(world, "release", NVME)
        world.daemon.stop()
        while "DaemonStopped" not in monitor.stdout.readline():
            pass
        monitor.terminate()


# ---- terminals ----

@scenario
def a_terminal_gets_colour_and_steps(world):
    settled(world)
    status, text = on_terminal(world, "assign", GPU, "--group=take-all", "--owner=vm-t")
    assert status == 0 and "✓" in text and f"unbind {GPU} from nvidia" in text and "\033[32m" in text
    status, text = on_terminal(world, "list", "41:*", variables={"NO_COLOR": "1"})
    assert status == 0 and "\033[" not in text and "vm-t" in text
    status, text = on_terminal(world, "release", GPU, "--color=never")
    assert status == 0 and "\033[32m" not in text and "released" in text
    assert "\033[" in ctl(world, "list", "--color=always").stdout
    status, text = on_terminal(world, "assign", ROUTE_NIC)
    assert status == 4 and "default route" in text
    status, _ = on_terminal(world, "snapshot")
    assert status == 2


@scenario
def a_failure_on_a_terminal_shows_what_was_undone(world):
    settled(world)
    ctl(world, "sim", "inject", "probe", NVME, "kind=error", "error=EIO", "times=1")
    status, text = on_terminal(world, "assign", NVME)
    assert status == 1 and "pciassignctl: assign" in text
    assert text.count("↶") == 5 and f"↶\033[0m unbind {NVME} from nvme" in text


@scenario
def nothing_from_outside_drives_the_terminal(world):
    world.daemon.stop()

    def hostile(host):
        for device in host["devices"]:
            if device["address"] == NVME:
                device["attributes"]["label"] = "\033[31mred\007\u009b2J"
    world.start(change=hostile)
    settled(world)
    for argv in (["list", NVME], ["show", NVME]):
        text = ctl(world, *argv).stdout
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text), argv


# ---- elsewhere ----

@scenario
def a_snapshot_shows_the_same_machine(world):
    settled(world)
    path = world.directory / "snapshot.json"
    ctl(world, "snapshot", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert ctl(world, "snapshot").stdout == path.read_text() == ctl(world, "snapshot", "-").stdout
    ctl(world, "snapshot", str(world.directory / "none" / "x"), status=1)
    there = json.loads(ctl(world, "sim", "run", str(path), "--", CLIENT, "list", "--json").stdout)
    keys = LIST_KEYS - {"assignable", "blockers"}
    assert [{k: d[k] for k in keys} for d in there] == [{k: d[k] for k in keys} for d in ctl_json(world, "list")]
    assert "vm-secret" not in ctl(world, "snapshot", "--redact").stdout


@scenario
def sim_run_gives_the_commands_status(world):
    ctl(world, "sim", "run", str(HOST), "--", "sh", "-c", "exit 9", status=9)
    ctl(world, "sim", "run", "/no/such/file", "--", "true", status=3)
    bad = world.directory / "bad.json"
    bad.write_text('{"version": 1, "devices": 3}')
    assert "devices" in ctl(world, "sim", "run", str(bad), "--", "true", status=8).stderr
    left = ctl(world, "sim", "run", str(HOST), "--", "sh", "-c", "echo $PCIASSIGN_SIM_DIR").stdout.strip()
    assert left and not os.path.exists(left)


@scenario
def sim_hurts_the_host(world):
    client = settled(world)
    before = int(ctl(world, "sim", "advance", "1s").stdout)
    assert int(ctl(world, "sim", "advance", "1500ms").stdout) >= before + 1_500_000
    ctl(world, "sim", "hold", NVME, "77", "someone")
    ctl(world, "sim", "unhold", NVME)
    ctl(world, "sim", "rebind", NIC)
    client.wait_property(client.device(NIC), "org.pciassign1.Device", "Driver", "")
    ctl(world, "sim", "error", NIC, "correctable")
    ctl(world, "sim", "error", NIC, "unheard-of", status=2)
    ctl(world, "sim", "fail-state", "ENOSPC")
    ctl(world, "sim", "fail-state", "0")
    ctl(world, "sim", "fail-state", "EWHATEVER", status=2)
    ctl(world, "sim", "attention", NIC)
    ctl(world, "sim", "lose-events", "1")
    ctl(world, "sim", "surprise-remove", OTHER_NVME)
    ctl(world, "sim", "hold", "99:00.0", status=3)


@scenario
def vfs_reset_and_cancel(world):
    client = settled(world)
    total = ctl_json(world, "list", PHYSICAL)[0]["total_vfs"]
    assert total > 0
    ctl(world, "assign", NVME, "--owner=vm-x")
    ctl(world, "reset", NVME)
    ctl(world, "cancel", "1", status=2)
    ctl(world, "vfs", PHYSICAL, str(total + 1), status=2)
    ctl(world, "vfs", PHYSICAL, "2")
    assert len([d for d in ctl_json(world, "list") if d["physical_function"] == PHYSICAL]) == 2
    ctl(world, "vfs", PHYSICAL, "0")
    assert client.state(PHYSICAL) == "host"


@scenario
def demo_runs(world):
    done = subprocess.run([sys.executable, str(TOP / "tests" / "demo"), "--build-dir", os.path.dirname(CLIENT)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * LIMIT, check=False)
    assert done.returncode == 0 and "all as shown" in done.stdout, done.stdout + done.stderr


@scenario
def an_unreachable_daemon_is_said(world):
    world.daemon.stop()
    for argv in ([], ["show", NVME], ["assign", NVME], ["monitor"], ["doctor"], ["run", NVME, "--", "true"]):
        done = ctl(world, *argv, status=8)
        assert "daemon cannot be reached" in done.stderr and "remedy" in done.stderr, argv
    assert "cannot be reached" in ctl(world, "--bus=unix:path=/no/such/bus", status=8).stderr
    world.start()


@scenario
def a_full_disk_is_a_failure(world):
    settled(world)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([CLIENT, "list"], env=environment(world), stdout=full, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=LIMIT)
    assert done.returncode == 1 and "cannot write" in done.stderr

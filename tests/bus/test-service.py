# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a service: start, stop, reload, crash, restart, watchdog, descriptor store, refusals to start."""

import grp
import json
import os
import signal
import subprocess
import time

from harness import (ADMIN_GID, ALICE, ASSIGNMENT, BOB, DAEMON, LIMIT, MANAGER, NAME, PATH, BusError, Daemon, GLib,
                     expect, options, scenario, wait_until)

NVME, OTHER = "0000:45:00.0", "0000:65:00.0"


def bare(function):
    function.bare = True
    return scenario(function)


def snapshot(client, path):
    """The simulated host as it is now: what a restarted daemon finds, since a simulated kernel dies with its daemon."""
    answer = client.manager("Snapshot", "a{sv}", {})
    with os.fdopen(answer.fds[0], "rb") as f:
        f.seek(0)
        path.write_bytes(f.read())
    return path


@scenario
def it_is_ready_with_its_name_and_stops_when_told(world):
    c = world.client()
    assert c.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", "s", NAME,
                  destination="org.freedesktop.DBus")[0]
    assert any(s.get("READY") == "1" for s in world.daemon.notify.states)
    world.settled(c)
    assert world.daemon.stop() == 0
    with expect("org.freedesktop.DBus.Error.ServiceUnknown"):
        c.manager("Doctor")


@bare
def it_needs_no_privilege(world):
    world.start(user=ALICE)
    with open(f"/proc/{world.daemon.process.pid}/status", encoding="ascii") as f:
        status = dict(line.split(":", 1) for line in f)
    assert status["Uid"].split() == [str(ALICE)] * 4
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0
    root, stranger = world.client(), world.client(BOB)
    root.release(root.assign(NVME))
    with expect("NotAuthorized"):
        stranger.assign(NVME)
    with expect("NotAuthorized"):  # its own user is nobody special
        world.client(ALICE).assign(NVME)


@scenario
def interrupt_stops_it_as_well(world):
    assert world.daemon.stop(signal.SIGINT) == 0


@scenario
def stopping_releases_nothing(world):
    c = world.client()
    assignment = c.assign(NVME, lifetime="persistent", labels={"a": "b"}, request_id="r1")
    host = snapshot(c, world.directory / "later.json")
    assert world.daemon.stop() == 0
    world.daemon.host = host
    world.daemon.start()
    assert c.get(assignment, ASSIGNMENT, "State") == "active"
    assert c.get(assignment, ASSIGNMENT, "Labels") == {"a": "b"}
    assert c.assign(NVME, lifetime="persistent", labels={"a": "b"}, request_id="r1") == assignment
    with expect("Owned"):
        c.assign(NVME, "vm-2")
    c.release(assignment)
    assert c.driver(NVME) == "nvme"


@scenario
def a_kill_loses_no_assignment(world):
    c = world.client()
    made = {c.assign(NVME, lifetime="persistent"), c.assign(OTHER, lifetime="persistent")}
    host = snapshot(c, world.directory / "later.json")
    world.daemon.kill()
    world.daemon.host = host
    world.daemon.start()
    assert {r["Object"] for r in c.assignments()} == made
    for assignment in made:
        c.release(assignment)


@scenario
def a_client_that_left_while_it_was_down_gives_back(world):
    stays, goes = world.client(), world.client()
    kept, lost = stays.assign(NVME), goes.assign(OTHER)
    host = snapshot(stays, world.directory / "later.json")
    world.daemon.kill()
    goes.close()
    world.daemon.host = host
    world.daemon.start()
    wait_until("the release", lambda: [r["Object"] for r in stays.assignments()] == [kept])
    assert lost != kept
    stays.close()
    watcher = world.client()
    wait_until("the release", lambda: watcher.assignments() == [])


@scenario
def a_process_is_followed_over_a_restart(world):
    c = world.client()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    fd = os.pidfd_open(process.pid)
    try:
        c.manager("Assign", "assa{sv}", [NVME], "vm-1", options(lifetime="process", pidfd=GLib.Variant("h", 0)), fds=[fd])
        world.daemon.notify.drain()
        assert len(world.daemon.notify.stored) == 1, world.daemon.notify.states
        host = snapshot(c, world.directory / "later.json")
        stored = world.daemon.notify.stored
        world.daemon.kill()
        world.daemon.host = host
        world.daemon.start(fds=stored)
        assert [r["Pid"] for r in c.assignments()] == [process.pid]
    finally:
        process.stdin.close()
        process.wait()
        os.close(fd)
    wait_until("the release", lambda: c.assignments() == [])
    world.daemon.notify.drain()
    assert any("FDSTOREREMOVE" in s for s in world.daemon.notify.states)


@scenario
def a_process_that_ended_meanwhile_gives_back(world):
    c = world.client()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    fd = os.pidfd_open(process.pid)
    c.manager("Assign", "assa{sv}", [NVME], "vm-1", options(lifetime="process", pidfd=GLib.Variant("h", 0)), fds=[fd])
    os.close(fd)
    host = snapshot(c, world.directory / "later.json")
    world.daemon.kill()
    process.stdin.close()
    process.wait()
    world.daemon.host = host
    world.daemon.start()  # without the stored descriptor: pid, start time and boot id are all there is
    wait_until("the release", lambda: c.assignments() == [])


@scenario
def two_daemons_do_not_take_turns(world):
    other = world.directory / "other"
    other.mkdir()
    second = Daemon(world.bus, other, world.daemon.host)
    try:
        second.start()
        raise AssertionError("a second daemon became ready on the same bus")
    except RuntimeError:
        assert "another pciassignd" in second.text()
    assert world.client().manager("Doctor")


@scenario
def one_runtime_directory_has_one_daemon(world):
    done = subprocess.run([DAEMON, f"--simulate={world.daemon.host}", f"--bus={world.bus.address}",
                           f"--runtime-dir={world.directory}/run", f"--state-dir={world.directory}/state"],
                          capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 1 and "journal" in done.stderr, done


@scenario
def a_bus_that_ends_ends_it_with_failure(world):
    process = world.daemon.process
    world.bus.stop()
    assert process.wait(LIMIT) == 1
    world.daemon.process = None


@bare
def a_simulated_host_stays_away_from_the_machine(world):
    host = world.host()
    own = [f"--runtime-dir={world.directory}/r", f"--state-dir={world.directory}/s"]
    bus = f"--bus={world.bus.address}"
    for arguments in ([*own], [*own, "--bus=unix:path=/run/dbus/system_bus_socket"],
                      [*own, "--bus=unix:path=/var/run/dbus/system_bus_socket"],
                      [*own, "--bus=unix:path=/nowhere;unix:path=/run/dbus/system_bus_socket"],
                      [bus], [bus, own[0]], [bus, own[1]], [bus, "--runtime-dir=/run/pciassignd", own[1]],
                      [bus, own[0], "--state-dir=/var/lib/pciassignd"]):
        for what in (f"--simulate={host}", f"--root={world.directory}"):
            done = subprocess.run([DAEMON, what, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
            assert done.returncode == 2 and what.split("=")[0] in done.stderr, (arguments, done)


@bare
def arguments_that_are_wrong(world):
    for arguments in (["--no-such-option"], ["extra"], ["--log-level=loud"], ["--simulate"]):
        done = subprocess.run([DAEMON, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 2 and done.stderr, (arguments, done)
    for arguments in (["--help"], ["--version"]):
        assert "pciassignd" in subprocess.run([DAEMON, *arguments], capture_output=True, text=True, check=True).stdout
    for path in ("/nowhere", "not-a-path", "/org/pciassign1/"):
        done = subprocess.run([DAEMON, f"--bus-introspect={path}"], capture_output=True, text=True, timeout=LIMIT,
                              check=False)
        assert done.returncode == 1 and done.stderr, (path, done)


@bare
def hosts_that_are_wrong(world):
    path = world.directory / "bad.json"
    for text in ("", "{", "[]", "{}", '{"version": 99}', "\0" * 100, '{"version":1,"devices":[{"address":"x"}]}'):
        path.write_text(text)
        done = subprocess.run([DAEMON, f"--simulate={path}", f"--bus={world.bus.address}",
                               f"--runtime-dir={world.directory}", f"--state-dir={world.directory}"],
                              capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 1 and "bad.json" in done.stderr, (text, done)


# ---- settings ----

def write(root, path, text):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def effective(root):
    done = subprocess.run([DAEMON, "--config", f"--config-root={root}"], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@bare
def settings_have_values_and_origins(world):
    root = world.directory
    status, shown = effective(root)
    assert status == 0 and shown["errors"] == []
    assert all(v["origin"] == "default" and str(v["value"]) == v["default"] for v in shown["values"].values())
    write(root, "usr/lib/pciassignd/pciassignd.conf", "[Limits]\nMaxJobs=7\n")
    write(root, "usr/lib/pciassignd/pciassignd.conf.d/20-a.conf", "[Limits]\nMaxAssignments=20\n")
    write(root, "run/pciassignd/pciassignd.conf.d/10-b.conf", "# why\n\n[Worker]\n  MaxWorkers = 3  \n[Limits]\nMaxJobs=8\n")
    write(root, "etc/pciassignd/pciassignd.conf.d/20-a.conf", "[Limits]\nMaxAssignments=30\n")
    write(root, "etc/pciassignd/pciassignd.conf.d/ignored", "rubbish")
    status, shown = effective(root)
    values = {k: (v["value"], v["origin"]) for k, v in shown["values"].items()}
    assert status == 0
    assert values["MaxJobs"] == (8, "/run/pciassignd/pciassignd.conf.d/10-b.conf:6")
    assert values["MaxWorkers"] == (3, "/run/pciassignd/pciassignd.conf.d/10-b.conf:4")
    assert values["MaxAssignments"] == (30, "/etc/pciassignd/pciassignd.conf.d/20-a.conf:2")


@bare
def settings_that_are_wrong_say_where(world):
    root, name = world.directory, "/etc/pciassignd/pciassignd.conf"
    cases = (("[Limits]\nMaxJobs=0\n", ":2: MaxJobs must be a number from 1 to 4096"),
             ("[Limits]\nMaxJobs=many\n", ":2: MaxJobs must be a number"), ("MaxJobs=1\n", ":1: MaxJobs belongs in section"),
             ("[Limits]\nMaxJobz=1\n", ":2: MaxJobz is not a known key"), ("[Nowhere]\n", ":1: Nowhere is not a known section"),
             ("[Daemon]\nLogLevel=loud\n", ":2: LogLevel must be error"), ("rubbish\n", ":1: rubbish is neither"),
             ("[Daemon\n", ":1: [Daemon is not a [Section]"), ("[Daemon]\nAdminGroup=a:b\n", ":2: AdminGroup must be"),
             ("x" * 5000, ":1: This line is too long"), ("[Daemon]\n\x1b[2J=1\n", ":2: \\x1b[2J is not"))
    for text, complaint in cases:
        write(root, name[1:], text)
        status, shown = effective(root)
        assert status == 1 and len(shown["errors"]) == 1, (text, shown["errors"])
        assert shown["errors"][0].startswith(name + complaint), (complaint, shown["errors"])
        assert shown["values"]["MaxJobs"]["value"] == 256
    world.start(settings="[Limits]\nMaxJobz=1\n")  # none of it keeps it from starting
    assert "MaxJobz is not a known key" in world.daemon.text()


@bare
def a_reload_takes_all_or_nothing(world):
    world.start(settings="[Limits]\nMaxRequestsPerUser=1\n")
    polkit, alice = world.polkit("slow"), world.client(ALICE)

    def reload(text, word):
        world.settings(text)
        before = world.daemon.text().count(word)
        world.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the reload", lambda: world.daemon.text().count(word) > before)
    first = alice.send_assign(NVME)
    polkit.wait_question()
    with expect("Busy"):
        alice.assign(NVME)
    reload("[Limits]\nMaxRequestsPerUser=2\nMaxJobs=none\n", "stay as they were")
    with expect("Busy"):
        alice.assign(NVME)
    reload("[Limits]\nMaxRequestsPerUser=2\n", "loaded anew")
    second = alice.send_assign(NVME)
    polkit.wait_question(2)
    polkit.release("no")
    for reply in (first, second):
        with expect("NotAuthorized"):
            reply.wait()
    member = world.client(BOB, [ADMIN_GID])
    member.release(member.assign(NVME))  # the group is still known


@bare
def a_reload_renews_the_admin_group(world):
    world.start()
    member, other = world.client(BOB, [ADMIN_GID]), world.client(BOB, [grp.getgrnam("nogroup").gr_gid])

    def reload(group, word):
        world.settings(group=group)
        before = world.daemon.text().count(word)
        world.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the reload", lambda: world.daemon.text().count(word) > before)
        world.daemon.notify.wait("RELOADING")

    def is_asked_nothing(client):
        try:
            client.release(client.assign(NVME))
            return True
        except BusError as error:
            assert error.name == "NotAuthorized", error
            return False
    assert is_asked_nothing(member) and not is_asked_nothing(other)
    reload("nogroup", "loaded anew")  # who was known as a member is one no longer
    assert is_asked_nothing(other) and not is_asked_nothing(member)
    reload("no-such-group", "is not in /etc/group")
    assert not is_asked_nothing(other) and not is_asked_nothing(member)


# ---- idle and stuck ----

@bare
def the_watchdog_is_fed(world):
    world.start(environment={"WATCHDOG_USEC": "1000000"})
    world.daemon.notify.wait("WATCHDOG")


def context_switches(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)


@scenario
def nothing_wakes_it_when_idle(world):
    c = world.client()
    world.settled(c)
    c.release(c.assign(NVME))
    c.manager("Doctor")
    def quiet():  # for a second: not a wait for something, the absence of anything is what is measured
        before = context_switches(world.daemon.process)
        time.sleep(1)
        return context_switches(world.daemon.process) == before
    wait_until("the end of work", quiet)
    assert quiet()


@scenario
def no_match_is_left_when_nobody_is_watched(world):
    """The bus tells of leaving clients only while an assignment depends on one."""
    c = world.client()
    world.settled(c)
    switches = context_switches(world.daemon.process)
    for _ in range(50):
        world.client(ALICE).close()
    assert context_switches(world.daemon.process) - switches < 25
    c.assign(NVME)
    c.close()
    watcher = world.client()
    wait_until("the release", lambda: watcher.assignments() == [])


@scenario
def a_stuck_worker_costs_one_device(world):
    c, other = world.client(), world.client()
    c.simulate("Inject", "ssa{sv}", "unbind", NVME, options(kind="hang"))
    assignment, job = c.manager("Assign", "assa{sv}", [NVME], "vm-1", options(no_wait=True, lifetime="persistent"))
    wait_until("the step", lambda: c.get(job, f"{NAME}.Job", "Current").startswith("unbind"))
    c.simulate("Advance", "t", 200 * 1000000)
    wait_until("stuck", lambda: c.state(NVME) == "stuck")
    assert c.get(job, f"{NAME}.Job", "State") == "stuck"
    assert len(other.manager("ListDevices", "a{sv}", {})[0]) == 84
    reply = other.send_assign(OTHER, "vm-2", lifetime="persistent")
    wait_until("the other device", lambda: other.simulate("Advance", "t", 100000) and reply.done)
    second, = reply.wait()[:1]
    assert second != assignment
    with expect("Owned", "vm-1"):
        other.assign(NVME, "vm-3")

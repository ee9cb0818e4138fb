# SPDX-License-Identifier: LGPL-2.1-or-later
"""Arguments of strangers: huge, wrong, contradictory. Each gets an error of the table that names the thing; the daemon stays
as it was, answers others meanwhile, and keeps no descriptor and no memory of it."""

import os
import time

from harness import (ALICE, ASSIGNMENT, DEVICE, JOB, MANAGER, NAME, PATH, SIMULATOR, BusError, Gio, GLib, expect, options,
                     scenario, unpack, wait_until)

NVME = "0000:45:00.0"
HUGE = "x" * 65536
STRINGS = ("", HUGE, "a\nb", "\x1b[31mred", "../../etc/passwd", "0000:45:00.8", "0000:45:20.0", "g:0.0", "%s%n", "\u202e")


def refusal(function, *arguments, **keywords):
    """The error of the table that a call fails with."""
    try:
        function(*arguments, **keywords)
    except BusError as error:
        assert error.name in ("Invalid", "NotFound"), error
        assert 0 < len(error.message) <= 1024 and error.message.isprintable(), repr(error.message)
        return error
    raise AssertionError(f"{arguments} was accepted")


def fds(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def resident(daemon):
    with open(f"/proc/{daemon.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@scenario
def names_that_are_not(world):
    c = world.client()
    for text in STRINGS:
        refusal(c.manager, "GetDevice", "s", text)
        refusal(c.manager, "GetAssignment", "s", text)
        refusal(c.manager, "Explain", "ss", text, "vm-1")
        refusal(c.assign, text)
        refusal(c.manager, "Plan", "assa{sv}", [text], "vm-1", {})
    for owner in ("", HUGE, "x" * 256, "a\nb"):
        refusal(c.assign, NVME, owner)
    assert c.assignments() == []


@scenario
def arrays_without_end(world):
    c, other = world.client(), world.client()
    for devices in (["0000:45:00.0"] * 100000, [""] * 100000, [HUGE] * 200, [NVME] * 257, [NVME, NVME]):
        reply = c.send_assign(devices)
        begin = time.monotonic()
        other.call(PATH, "org.freedesktop.DBus.Peer", "Ping")
        assert time.monotonic() - begin < 2
        refusal(reply.wait)
    refusal(c.call, c.device(NVME), DEVICE, "GetFacts", "asa{sv}", ["identity"] * 100000, {})


def dictionary(*pairs):
    """An a{sv} that may hold a key twice."""
    builder = GLib.VariantBuilder(GLib.VariantType("a{sv}"))
    for key, value in pairs:
        builder.add_value(GLib.Variant("{sv}", (key, value)))
    return builder.end()


WRONG_OPTIONS = (
    ("lifetime", GLib.Variant("u", 1)), ("lifetime", GLib.Variant("s", "for-ever")), ("group", GLib.Variant("s", "")),
    ("request-id", GLib.Variant("s", "")), ("request-id", GLib.Variant("s", "x" * 129)),
    ("labels", GLib.Variant("a{sv}", {})), ("labels", GLib.Variant("a{ss}", {str(n): "" for n in range(33)})),
    ("labels", GLib.Variant("a{ss}", {"a=b": "c"})), ("labels", GLib.Variant("a{ss}", {"": "c"})),
    ("labels", GLib.Variant("a{ss}", {"a": HUGE})), ("force", GLib.Variant("s", "yes")),
    ("uid", GLib.Variant("u", 0xffffffff)), ("uid", GLib.Variant("i", -1)), ("pidfd", GLib.Variant("u", 3)),
    ("attach-within", GLib.Variant("t", (1 << 64) - 1)), ("driver", GLib.Variant("s", "x" * 33)),
    ("driver", GLib.Variant("s", "../evil")), ("token", GLib.Variant("s", HUGE)), ("memlock", GLib.Variant("d", 1.0)),
    ("no-wait", GLib.Variant("v", GLib.Variant("b", True))), ("lifetime", GLib.Variant("as", [HUGE])),
)


@scenario
def options_that_are_wrong(world):
    c = world.client()
    for key, value in WRONG_OPTIONS:
        try:
            reply = c.send(PATH, MANAGER, "Assign", "assa{sv}", [NVME], "vm-1", {key: value})
            reply.wait()
            raise AssertionError(f"{key}={value} was accepted")
        except BusError as error:
            assert error.name in ("Invalid", "NotSupported"), (key, error)
            assert error.name != "Invalid" or key in error.message or key == "driver", error
    with expect("Invalid", "no-such-option", "lifetime"):
        c.assign(NVME, no_such_option="x")
    with expect("Invalid", "unprintable"):
        c.manager("Assign", "assa{sv}", [NVME], "vm-1", {"\x1b[2J": GLib.Variant("b", True)})
    message = Gio.DBusMessage.new_method_call(NAME, PATH, MANAGER, "Assign")
    twice = dictionary(("force", GLib.Variant("b", True)), ("force", GLib.Variant("b", True)))
    message.set_body(GLib.Variant.new_tuple(GLib.Variant("as", [NVME]), GLib.Variant("s", "vm-1"), twice))
    with expect("Invalid", "twice"):
        unpack(c.connection.send_message_with_reply_sync(message, Gio.DBusSendMessageFlags.NONE, 10000, None)[0])
    with expect("Invalid", "none is known here"):
        c.manager("Rescan", "a{sv}", options(force=True))
    assert c.assignments() == [] and c.driver(NVME) == "nvme"


@scenario
def signatures_that_are_wrong(world):
    c = world.client()
    for member, signature, values in (("Assign", "s", ("x",)), ("Assign", "assas", ([], "", [])), ("Doctor", "s", ("x",)),
                                      ("GetDevice", "u", (1,)), ("ListDevices", "a{ss}", ({},)), ("Assign", None, ())):
        with expect("org.freedesktop.DBus.Error.InvalidArgs"):
            c.manager(member, signature, *values)
    with expect("org.freedesktop.DBus.Error.UnknownMethod"):
        c.manager("SelfDestruct")
    deep = GLib.Variant("b", True)
    for _ in range(60):
        deep = GLib.Variant("v", deep)
    try:
        c.manager("ListDevices", "a{sv}", {"address": deep})
        raise AssertionError("a deep variant was accepted")
    except BusError as error:
        assert error.name in ("Invalid", "local"), error  # or the bus has closed the connection: not ours


@scenario
def a_call_without_interface(world):
    c = world.client()
    message = Gio.DBusMessage.new_method_call(NAME, PATH, None, "Doctor")
    try:
        unpack(c.connection.send_message_with_reply_sync(message, Gio.DBusSendMessageFlags.NONE, 10000, None)[0])
        raise AssertionError("a call without interface passed the gate")
    except BusError as error:
        assert error.name.startswith("org.freedesktop.DBus.Error."), error


@scenario
def numbers_that_are_wrong(world):
    c = world.client()
    assignment = c.assign(NVME)
    for number in (0, 1, 2**63, 2**64 - 1):
        refusal(c.call, assignment, ASSIGNMENT, "Acknowledge", "t", number)
    for number in (0, 2**63, 2**64 - 1):
        assert c.call(assignment, ASSIGNMENT, "GetEvents", "t", number)[0] == []
    for number in (1, 65535, 2**32 - 1):
        try:
            c.call(c.device(NVME), DEVICE, "SetVirtualFunctions", "ua{sv}", number, {})
            raise AssertionError("an NVMe disk got virtual functions")
        except BusError as error:
            assert error.name in ("Invalid", "NotSupported", "Owned", "Busy"), error
    refusal(c.call, assignment, ASSIGNMENT, "Open", "asa{sv}", ["0000:65:00.0"], {})
    with expect("Invalid", "container"):
        c.call(assignment, ASSIGNMENT, "Open", "asa{sv}", [], options(container=GLib.Variant("h", 0), iommufd=GLib.Variant(
            "h", 0)), fds=[0])


@scenario
def descriptors_that_are_wrong(world):
    c = world.client()
    assignment = c.assign(NVME)
    before = fds(world.daemon)
    read_end, write_end = os.pipe()
    file = os.open("/etc/passwd", os.O_RDONLY)
    try:
        for fd in (read_end, file):
            for uid in ("", "x", "-1", "4294967296", HUGE):
                refusal(c.call, assignment, ASSIGNMENT, "Attach", "hsa{sv}", 0, uid, {}, fds=[fd])
            refusal(c.manager, "Assign", "assa{sv}", ["0000:65:00.0"], "vm-1",
                    options(lifetime="process", pidfd=GLib.Variant("h", 0)), fds=[fd])
        for _ in range(20):  # along with calls that want none
            c.manager("GetDevice", "s", NVME, fds=[read_end] * 16)
    finally:
        for fd in (read_end, write_end, file):
            os.close(fd)
    wait_until("descriptors to be closed", lambda: fds(world.daemon) == before)


@scenario
def simulator_arguments_that_are_wrong(world):
    c = world.client()

    def call(member, signature, *values):
        return c.call(PATH, SIMULATOR, member, signature, *values)
    refusal(call, "Add", "s", "{")
    refusal(call, "Add", "s", "{}")
    refusal(call, "Add", "s", '{"address":"0000:45:00.0"}')
    refusal(call, "Add", "s", "[" * 100000)
    refusal(call, "Inject", "ssa{sv}", "unbind", "nvme1", {})
    refusal(call, "Inject", "ssa{sv}", "explode", NVME, {})
    refusal(call, "Inject", "ssa{sv}", "unbind", NVME, options(kind="pain"))
    refusal(call, "Hold", "sus", "0000:99:00.0", 1, "vmm")
    refusal(call, "Unhold", "s", "0000:99:00.0")
    refusal(call, "Rebind", "ss", NVME, HUGE)
    refusal(call, "SetOverride", "ss", NVME, HUGE)
    refusal(call, "Advance", "t", 2**64 - 1)


@scenario
def paths_that_are_wrong(world):
    c = world.client()
    for path in ("/", "/org", PATH + "/device", PATH + "/device/" + "a" * 10000, PATH + "/assignment/" + "0" * 32,
                 PATH + "/job/18446744073709551616", PATH + "/group/-1".replace("-", "_2d"), PATH + "/device/_"):
        for interface, member, signature, values in ((DEVICE, "Reset", "a{sv}", ({},)), (JOB, "Cancel", None, ()),
                                                     (ASSIGNMENT, "Release", "a{sv}", ({},))):
            try:
                c.call(path, interface, member, signature, *values)
                raise AssertionError(f"{path} answers {interface}.{member}")
            except BusError as error:
                assert error.name in ("org.freedesktop.DBus.Error.UnknownObject",
                                      "org.freedesktop.DBus.Error.UnknownMethod",
                                      "org.freedesktop.DBus.Error.UnknownInterface"), error


@scenario
def messages_of_many_megabytes(world):
    c, other = world.client(), world.client()
    begin = resident(world.daemon)
    for _ in range(2):
        reply = c.send(PATH, MANAGER, "ListDevices", "a{sv}", {"address": GLib.Variant("s", "*" * (24 << 20))})
        other.call(PATH, "org.freedesktop.DBus.Peer", "Ping")
        refusal(reply.wait)
    other.manager("Doctor")
    assert resident(world.daemon) - begin < 32 << 20, resident(world.daemon) - begin


@scenario
def patterns_that_take_time(world):
    c = world.client()
    begin = time.monotonic()
    rows, _next = c.manager("ListDevices", "a{sv}", options(address="*0" * 100, driver="*a*b*c*d" * 20))
    assert rows == [] and time.monotonic() - begin < 2


@scenario
def a_flood_of_calls_leaves_nothing(world):
    root, before = world.client(), None
    for _round in range(3):
        strangers = [world.client(ALICE) for _ in range(20)]
        replies = [s.send(PATH, MANAGER, "Explain", "ss", NVME, "vm-1") for s in strangers for _ in range(100)]
        begin = time.monotonic()
        root.call(PATH, "org.freedesktop.DBus.Peer", "Ping")
        assert time.monotonic() - begin < 10
        names = set()
        for reply in replies:
            try:
                reply.wait()
            except BusError as error:
                names.add(error.name)
        assert names <= {"Busy"}, names
        for s in strangers:
            s.close()
        root.release(root.assign(NVME))
        now = (fds(world.daemon), resident(world.daemon))
        if before:
            assert now[0] == before[0] and now[1] - before[1] < 8 << 20, (before, now)
        before = before or now

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: every method and every property that the daemon says it has, for every kind of caller and every answer
of polkit. What is not in the table below fails, so that nothing new is open or closed by oversight.
"""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

from harness import (ADMIN_GID, ALICE, ASSIGNMENT, BOB, DAEMON, DEVICE, GROUP, JOB, MANAGER, NAME, NOBODY, PATH,
                     SIMULATOR, TOP, BusError, GLib, scenario)

NVME, FREE = "0000:45:00.0", "0000:65:00.0"
ANSWERS = ("yes", "no", "challenge", "error", "malformed", "absent")
EVERYBODY, OWNER = "everybody", "owner or "

TABLE = {
    MANAGER: {
        "Assign": "assign", "Plan": EVERYBODY, "AssignMatching": "assign", "PlanMatching": EVERYBODY, "Explain": EVERYBODY, "ListDevices": EVERYBODY,
        "ListAssignments": EVERYBODY, "GetDevice": EVERYBODY, "GetAssignment": EVERYBODY, "Rescan": "inspect",
        "Snapshot": "inspect", "Doctor": EVERYBODY, "CheckPolicy": "policy", "ReloadPolicy": "policy",
        "GetPolicy": EVERYBODY,
    },
    DEVICE: {"GetFacts": EVERYBODY, "Reset": "reset", "Quarantine": "reset", "Unquarantine": "reset",
             "Adopt": "manage-others", "Restore": "manage-others", "SetVirtualFunctions": "assign"},
    GROUP: {},
    ASSIGNMENT: {name: OWNER + "manage-others" for name in ("Open", "Attach", "Release", "Acknowledge", "GetEvents")},
    JOB: {"Cancel": OWNER + "manage-others"},
    SIMULATOR: {name: EVERYBODY for name in ("Advance", "Inject", "ClearFaults", "Hold", "Unhold", "Rebind", "SetOverride", "Remove",
                                             "SurpriseRemove", "Add", "LoseEvents", "ReportError",
                                             "PressAttention", "FailState")},
}


def interfaces(client, path):
    """Ours at that path, with methods as name → signature and properties."""
    text, = client.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")
    found = {}
    for node in ElementTree.fromstring(text).findall("interface"):
        if node.get("name").startswith(NAME):
            found[node.get("name")] = (
                {m.get("name"): "".join(a.get("type") for a in m.findall("arg") if a.get("direction") == "in")
                 for m in node.findall("method")},
                [p.get("name") for p in node.findall("property")])
    return found


def harmless(signature):
    """Arguments that pass the bus and the gate and are refused by the handler: an option nobody knows, no such event."""
    values = {"as": [], "s": "no-such-thing", "u": 0, "t": 1 << 40, "h": 0,
              "a{sv}": {"no-such-option": GLib.Variant("b", True)}, "a(a{sv}u)": []}
    arguments, rest = [], signature
    while rest:
        kind = next(k for k in ("a{sv}", "as", "a(a{sv}u)", rest[0]) if rest.startswith(k))
        arguments.append(values[kind])
        rest = rest[len(kind):]
    return arguments


def gate(client, path, interface, member, signature, fd):
    """Does the call pass the gate?"""
    try:
        client.call(path, interface, member, signature or None, *harmless(signature),
                    fds=[fd] if "h" in signature else ())
    except BusError as error:
        assert not error.name.startswith("org.freedesktop"), f"{interface}.{member}: {error}"
        assert error.name != "Failed", f"{interface}.{member}: {error}"
        return error.name != "NotAuthorized"
    return True


class Matrix:
    """The objects of one running daemon and its callers."""

    def __init__(self, world):
        self.world = world
        self.root = world.client()
        polkit = world.polkit("yes")
        self.alice = world.client(ALICE, [ALICE])
        self.assignment = self.alice.assign(NVME, lifetime="persistent")
        polkit.close()
        job = next(p for p, i in self.root.managed().items() if JOB in i)
        self.paths = [PATH, self.root.device(FREE), "/org/pciassign1/group/24", self.assignment, job]
        self.callers = {
            "root": (self.root, True), "member": (world.client(BOB, [ADMIN_GID]), True),
            "creator": (self.alice, False), "other": (world.client(BOB, [BOB]), False),
            "nobody": (world.client(NOBODY, [NOBODY]), False),
        }
        self.fd = os.open("/dev/null", os.O_RDONLY)

    def methods(self):
        for path in self.paths:
            for interface, (methods, _properties) in interfaces(self.root, path).items():
                for member, signature in methods.items():
                    yield path, interface, member, signature


def allowed(rule, caller, trusted, answer):
    if trusted or rule == EVERYBODY or (rule.startswith(OWNER) and caller == "creator"):
        return True, None
    return answer == "yes", f"{NAME}." + rule.removeprefix(OWNER)


def check_one(matrix, polkit, answer, call):
    path, interface, member, signature = call
    rule = TABLE[interface][member]
    for caller, (client, trusted) in matrix.callers.items():
        if polkit:
            polkit.questions.clear()
        passed = gate(client, path, interface, member, signature, matrix.fd)
        wanted, action = allowed(rule, caller, trusted, answer)
        where = f"{interface}.{member} by {caller}, polkit {answer}"
        assert passed == wanted, f"{where}: {'passed' if passed else 'refused'}"
        if not polkit:
            continue
        asked = [q["action"] for q in polkit.questions]
        assert asked == ([action] if action else []), f"{where}: asked {asked}"
        for question in polkit.questions:
            assert question["subject"] == ("system-bus-name", {"name": client.name}), question
            assert question["flags"] == 0, question


@scenario
def every_method_for_every_caller_and_answer(world):
    matrix = Matrix(world)
    calls = list(matrix.methods())
    assert {(i, m) for _p, i, m, _s in calls} == {(i, m) for i in TABLE for m in TABLE[i]}
    for answer in ANSWERS:
        polkit = None if answer == "absent" else world.polkit(answer)
        for call in calls:
            if call[1] != SIMULATOR:
                check_one(matrix, polkit, answer, call)
        if polkit:
            polkit.close()
    assert matrix.root.get(matrix.assignment, ASSIGNMENT, "State") == "active"


@scenario
def every_property_is_open_and_read_only(world):
    matrix = Matrix(world)
    polkit = world.polkit("no")
    count = 0
    for path in matrix.paths:
        for interface, (_methods, properties) in interfaces(matrix.root, path).items():
            for caller, (client, _trusted) in matrix.callers.items():
                if properties:
                    assert set(client.get_all(path, interface)) == set(properties), (caller, interface)
                for name in properties:
                    client.get(path, interface, name)
                    count += 1
                    try:
                        client.call(path, "org.freedesktop.DBus.Properties", "Set", "ssv", interface, name,
                                    GLib.Variant("s", "x"))
                        raise AssertionError(f"{interface}.{name} can be set by {caller}")
                    except BusError as error:
                        assert error.name == "org.freedesktop.DBus.Error.PropertyReadOnly", error
    assert count > 300 and not polkit.questions


@scenario
def facts_are_everybodys_but_serials_and_holders(world):
    secrets = (("identity", "device_serial_number"), ("identity", "serial"), ("use", "holders"))

    def facts(client, **chosen):
        return client.call(root.device(NVME), DEVICE, "GetFacts", "asa{sv}", ["identity", "use"],
                           {name: GLib.Variant("b", value) for name, value in chosen.items()})[0]

    root, nobody = world.client(), world.client(NOBODY, [NOBODY])
    world.settled(root)
    for client, told in ((nobody, False), (world.client(BOB, [ADMIN_GID]), True), (root, True)):
        found = facts(client)
        assert found["identity"]["address"] == NVME and found["use"]["driver"] == "nvme"
        assert all((found[topic][key] != "not authorised") == told for topic, key in secrets), found
    polkit = world.polkit("no")
    facts(nobody, refresh=True)
    assert not polkit.questions
    try:
        facts(nobody, confidential=True)
        raise AssertionError("told without the right")
    except BusError as error:
        assert error.name == "NotAuthorized", error
    polkit.answer = "yes"
    found = facts(nobody, confidential=True)
    assert [q["action"] for q in polkit.questions] == [f"{NAME}.inspect"] * 2
    assert isinstance(found["use"]["holders"], list) and found["identity"]["serial"] != "not authorised"


@scenario
def introspection_equals_the_files(world):
    """What the daemon says, what it prints without a bus, and dbus/*.xml with the documentation taken out."""
    def normal(node):
        return (node.tag, sorted(node.attrib.items()), [normal(child) for child in node])

    def ours(text):
        return {n.get("name"): normal(n) for n in ElementTree.fromstring(text).findall("interface")
                if n.get("name").startswith(NAME)}
    matrix = Matrix(world)
    live, printed, files = {}, {}, {}
    for path in matrix.paths:
        live.update(ours(matrix.root.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]))
        printed.update(ours(subprocess.run([DAEMON, f"--bus-introspect={path}"], check=True, capture_output=True,
                                           text=True).stdout))
    for path in (TOP / "dbus").glob("*.xml"):
        files.update(ours(path.read_text()))
    assert set(live) == set(TABLE)
    for name in TABLE:
        assert live[name] == printed[name], name
        assert live[name] == files[name], f"{name}: dbus/{name}.xml is not what the daemon says"
    assert set(files) == set(live)


@scenario
def every_method_documents_its_errors(world):
    for path in (TOP / "dbus").glob("*.xml"):
        if path.stem == SIMULATOR:
            continue
        before = ""
        for line in path.read_text().splitlines():
            if "<method " in line:
                assert "Possible errors:" in before, f"{path.name}: {line.strip()}"
            before = before + line if "</method>" not in line and "/>" not in line else ""


@scenario
def signals_reach_everybody_alike(world):
    matrix = Matrix(world)
    stranger = world.client(NOBODY, [NOBODY])
    stranger.watch()
    matrix.root.assign(FREE)
    stranger.wait_signal("JobNew")


@scenario
def the_manual_has_everything(world):
    manual = (TOP / "dbus" / f"{NAME}.5.rst").read_text()
    for path in (TOP / "dbus").glob("*.xml"):
        for node in ElementTree.parse(path).getroot().find("interface"):
            word = f"**{node.get('name')}**" + (" (" if node.tag == "property" else "\\(")
            assert word in manual, f"{path.name}: {word}"

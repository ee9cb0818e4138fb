# SPDX-License-Identifier: LGPL-2.1-or-later
"""Questions to polkit on their way: what they say, and what happens when the caller, the device or polkit goes."""

import os
import subprocess

from harness import (ALICE, ASSIGNMENT, BOB, BusError, GLib, expect, options, scenario, wait_until)

NVME, OTHER = "0000:45:00.0", "0000:65:00.0"
ASSIGN, FORCE, MANAGE = "org.pciassign1.assign", "org.pciassign1.force", "org.pciassign1.manage-others"


@scenario
def a_question_names_device_and_owner(world):
    polkit, alice = world.polkit("yes"), world.client(ALICE)
    assignment = alice.assign(NVME, "vm-1", lifetime="persistent")
    question, = polkit.questions
    assert question["action"] == ASSIGN and question["subject"] == ("system-bus-name", {"name": alice.name})
    details = question["details"]
    assert (details["device"], details["devices"], details["owner"]) == (NVME, NVME, "vm-1")
    assert details["ids"].startswith("144d:") or len(details["ids"]) == 9
    assert details["class"] == "010802"
    with expect("NotAuthorized"):
        polkit.answer = "no"
        world.client(BOB).release(assignment)
    assert polkit.questions[-1]["action"] == MANAGE
    assert polkit.questions[-1]["details"]["owner"] == "vm-1"


@scenario
def interaction_is_allowed_only_where_the_caller_says_so(world):
    polkit, alice = world.polkit("challenge"), world.client(ALICE)
    for interactive in (False, True):
        try:
            alice.send_assign(NVME, interactive=interactive).wait()
            raise AssertionError("a challenge granted")
        except BusError as error:
            assert error.name == "NotAuthorized" and error.details == {"action": ASSIGN, "challenge": True}
        assert polkit.questions[-1]["flags"] == int(interactive)


@scenario
def each_call_is_asked_anew(world):
    polkit, alice = world.polkit("yes"), world.client(ALICE)
    alice.release(alice.assign(NVME))
    polkit.answer = "no"
    with expect("NotAuthorized"):
        alice.assign(NVME)
    assert [q["action"] for q in polkit.questions] == [ASSIGN, ASSIGN]


@scenario
def force_needs_both_and_a_reason(world):
    polkit, alice, root = world.polkit("yes"), world.client(ALICE), world.client()
    with expect("Invalid", "reason"):
        alice.assign("eno1", force=True)
    polkit.answers = {FORCE: "no"}
    with expect("NotAuthorized", FORCE):
        alice.assign("eno1", force=True, reason="moving the route")
    polkit.questions.clear()
    polkit.answers = {FORCE: "yes", ASSIGN: "no"}
    with expect("NotAuthorized", ASSIGN):
        alice.assign("eno1", force=True, reason="moving the route")
    assert [q["action"] for q in polkit.questions] == [ASSIGN]
    assert root.assignments() == [] and root.state("eno1") == "host"
    polkit.answers = {}
    polkit.questions.clear()
    try:
        alice.release(alice.assign("eno1", force=True, reason="moving the route"))
    except BusError as error:
        assert error.name != "NotAuthorized", error
    assert [q["action"] for q in polkit.questions][:2] == [ASSIGN, FORCE]


@scenario
def naming_another_user_needs_more(world):
    polkit, alice, root = world.polkit("yes"), world.client(ALICE), world.client()
    assignment = alice.assign(NVME, lifetime="persistent")
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, user=ALICE)
    fd = os.pidfd_open(process.pid)
    try:
        polkit.questions.clear()
        polkit.answers = {MANAGE: "no"}
        for values in ({"uid": GLib.Variant("u", BOB)}, {"gid": GLib.Variant("u", 0)}):
            with expect("NotAuthorized", MANAGE):
                alice.assign(OTHER, **values)
        with expect("NotAuthorized", MANAGE):
            alice.call(assignment, ASSIGNMENT, "Attach", "hsa{sv}", 0, str(BOB), {}, fds=[fd])
        assert [q["action"] for q in polkit.questions] == [ASSIGN, MANAGE, ASSIGN, MANAGE, MANAGE]
        assert root.get(assignment, ASSIGNMENT, "UserUid") == 0xffffffff
        polkit.answers = {}
        alice.call(assignment, ASSIGNMENT, "Attach", "hsa{sv}", 0, str(BOB), {}, fds=[fd])
        assert root.get(assignment, ASSIGNMENT, "UserUid") == BOB
    finally:
        process.stdin.close()
        process.wait()
        os.close(fd)


@scenario
def other_peoples_assignments_need_more(world):
    polkit, alice, bob = world.polkit("yes"), world.client(ALICE), world.client(BOB)
    assignment = alice.assign(NVME, lifetime="persistent")
    polkit.answer = "no"
    alice.call(assignment, ASSIGNMENT, "GetEvents", "t", 0)
    for member, signature, values in (("Release", "a{sv}", ({},)), ("Open", "asa{sv}", ([], {})),
                                      ("GetEvents", "t", (0,)), ("Acknowledge", "t", (1,))):
        with expect("NotAuthorized", MANAGE):
            bob.call(assignment, ASSIGNMENT, member, signature, *values)
    polkit.answer = "yes"
    bob.release(assignment)


@scenario
def a_caller_that_leaves_meanwhile_gets_nothing(world):
    polkit, alice, root = world.polkit("slow"), world.client(ALICE), world.client()
    alice.send_assign(NVME, lifetime="persistent")
    polkit.wait_question()
    alice.close()
    # Seen by us when the bus has told: a name that is gone is told to all.
    wait_until("the end of its name", lambda: not root.call(
        "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", "s", alice.name,
        destination="org.freedesktop.DBus")[0])
    polkit.release("yes")
    root.manager("Doctor")
    assert root.assignments() == [] and root.state(NVME) == "host"


@scenario
def a_device_that_goes_meanwhile_is_not_found(world):
    polkit, alice, root = world.polkit("slow"), world.client(ALICE), world.client()
    world.settled(root)
    assign = alice.send_assign(NVME)
    facts = alice.send(root.device(NVME), "org.pciassign1.Device", "GetFacts", "asa{sv}", [], options(confidential=True))
    polkit.wait_question(2)
    root.simulate("Remove", "s", NVME)
    wait_until("the removal", lambda: not root.manager("ListDevices", "a{sv}", options(address=NVME))[0])
    polkit.release("yes")
    for reply in (assign, facts):
        with expect("NotFound"):
            reply.wait()


@scenario
def an_assignment_that_goes_meanwhile_is_not_found(world):
    polkit, alice, bob = world.polkit("yes"), world.client(ALICE), world.client(BOB)
    assignment = alice.assign(NVME)
    polkit.answer = "slow"
    polkit.questions.clear()
    reply = bob.send(assignment, ASSIGNMENT, "Release", "a{sv}", {})
    polkit.wait_question()
    alice.release(assignment)
    polkit.release("yes")
    with expect("NotFound"):
        reply.wait()


@scenario
def a_polkit_that_dies_refuses(world):
    polkit, alice = world.polkit("slow"), world.client(ALICE)
    reply = alice.send_assign(NVME)
    polkit.wait_question()
    polkit.close()
    with expect("NotAuthorized"):
        reply.wait()
    with expect("NotAuthorized", "not running"):
        alice.assign(NVME)


def slow_refuses(world):
    world.start(settings="PolkitTimeoutSec=1\n")
    polkit, alice, root = world.polkit("slow"), world.client(ALICE), world.client()
    with expect("NotAuthorized", "did not answer"):
        alice.assign(NVME)
    polkit.release("yes")
    root.manager("Doctor")
    assert root.assignments() == []


slow_refuses.bare = True
scenario(slow_refuses)


def questions_are_limited_in_all(world):
    """A bus refuses more than 128 unanswered calls of one connection: the daemon stops before."""
    world.start(settings="[Limits]\nMaxRequestsPerUser=4096\n")
    polkit, root = world.polkit("slow"), world.client()
    clients = [world.client(ALICE), world.client(ALICE)]
    replies = [clients[n % 2].send_assign(NVME) for n in range(130)]
    polkit.wait_question(100)
    root.release(root.assign(NVME))
    polkit.release("no")
    names = []
    for reply in replies:
        try:
            reply.wait()
        except BusError as error:
            names.append(error.name)
    assert names.count("NotAuthorized") == 100 and names.count("Busy") == 30, names


questions_are_limited_in_all.bare = True
scenario(questions_are_limited_in_all)


def pending_requests_are_limited_by_user(world):
    world.start(settings="[Limits]\nMaxRequestsPerUser=3\n")
    polkit, root = world.polkit("slow"), world.client()
    clients = [world.client(ALICE) for _ in range(3)]
    waiting = [clients[n % 3].send_assign(NVME) for n in range(3)]
    polkit.wait_question(3)
    with expect("Busy", str(ALICE), "3"):
        world.client(ALICE).assign(NVME)
    bob = world.client(BOB).send_assign(NVME)
    polkit.wait_question(4)
    root.release(root.assign(NVME))
    clients[0].close()
    polkit.release("no")
    for reply in waiting[1:] + [bob]:
        with expect("NotAuthorized"):
            reply.wait()
    polkit.answer = "yes"
    again = world.client(ALICE)
    again.release(again.assign(NVME))


pending_requests_are_limited_by_user.bare = True
scenario(pending_requests_are_limited_by_user)


@scenario
def nothing_is_left_of_a_thousand_refusals(world):
    polkit, alice = world.polkit("no"), world.client(ALICE)
    for _ in range(20):
        replies = [alice.send_assign(OTHER) for _ in range(50)]
        for reply in replies:
            with expect("NotAuthorized"):
                reply.wait()
    assert len(polkit.questions) == 1000
    assert 0 < world.daemon.text().count("Refused Assign") < 1000  # nobody fills the journal by being refused
    polkit.answer = "yes"
    assert alice.assign(OTHER, no_wait=GLib.Variant("b", True))

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is interrupted: each operation prepares a host, is sent, and says what its caller was told."""

from harness import DEVICE, BusError, options

NIC, NVME, GPU, PF = "0000:43:00.0", "0000:45:00.0", "0000:41:00.0", "0000:c3:00.0"


class Operation:
    """prepare() runs before anything is injected, send() starts the call, told() is what its reply acknowledges;
    `certain` is what holds without a reply, too; `like` the operation that is made of the same steps."""

    certain = like = None

    def prepare(self, rig):
        self.path = None

    def reply(self, _rig):
        """("ok" | error name | None without an answer, what is acknowledged)"""
        try:
            values = self.call.wait()
        except BusError as error:
            return error.name, self.certain
        return "ok", self.told(values)


class Assign(Operation):
    name = "assign"
    devices, options = [NIC], {}

    def send(self, rig):
        self.call = rig.client.send_assign(self.devices, lifetime="persistent", **self.options)

    def told(self, values):
        self.path = values[0]
        return "assigned"


class Clean(Assign):
    """A second owner gets what a first one has had: cleaned, whoever is killed."""

    name, like = "clean", "assign"

    def prepare(self, rig):
        self.path = None
        rig.client.release(rig.client.assign(self.devices, owner="vm-0"))


class AssignGroup(Assign):
    name, like = "assign-group", "assign"
    devices, options = [GPU], {"group": "take-all"}


class Release(Operation):
    name, like = "release", "assign"
    devices, options = [NIC], {}

    def prepare(self, rig):
        self.path = rig.client.assign(self.devices, lifetime="persistent", **self.options)

    def send(self, rig):
        self.call = rig.client.send(self.path, "org.pciassign1.Assignment", "Release", "a{sv}", {})

    def told(self, _values):
        return "released"


class ReleaseGroup(Release):
    name, like = "release-group", "release"
    devices, options = [GPU], {"group": "take-all"}


class OfDevice(Operation):
    """A method of a device that changes nothing of who owns what."""

    device, signature, values = NVME, "a{sv}", ()

    def prepare(self, rig):
        self.path = None
        self.object = rig.client.device(self.device)

    def send(self, rig):
        self.call = rig.client.send(self.object, DEVICE, self.method, self.signature, *self.values, options())

    def told(self, _values):
        return self.certain


class Reset(OfDevice):
    """Of a device that is assigned and stays so."""

    name, method, certain = "reset", "Reset", "assigned"

    def prepare(self, rig):
        super().prepare(rig)
        self.path = rig.client.assign(self.device, lifetime="persistent")


class Unquarantine(OfDevice):
    name, method, like = "unquarantine", "Unquarantine", "clean"

    def prepare(self, rig):
        super().prepare(rig)
        rig.client.call(self.object, DEVICE, "Quarantine", "sa{sv}", "to be left", options())


class VirtualFunctions(OfDevice):
    name, method, device, signature, values = "vfs", "SetVirtualFunctions", PF, "ua{sv}", (2,)
    like = "assign"


OPERATIONS = [Assign, AssignGroup, Clean, Release, ReleaseGroup, Reset, Unquarantine, VirtualFunctions]

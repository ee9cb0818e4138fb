# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is interrupted: each operation prepares a host, is sent, and says what its caller was told."""

from harness import DEVICE, BusError, options

NIC, NVME, GPU, PF = "0000:43:00.0", "0000:45:00.0", "0000:41:00.0", "0000:c3:00.0"


class Operation:
    """prepare() runs before anything is injected, send() starts the call, told() is what its reply acknowledges."""

    def prepare(self, rig):
        self.path = None

    def reply(self, _rig):
        """("ok" | error name | None without an answer, what is acknowledged)"""
        try:
            values = self.call.wait()
        except BusError as error:
            return error.name, None
        return "ok", self.told(values)


class Assign(Operation):
    name = "assign"
    devices, options = [NIC], {}

    def send(self, rig):
        self.call = rig.client.send_assign(self.devices, lifetime="persistent", **self.options)

    def told(self, values):
        self.path = values[0]
        return "assigned"


class AssignGroup(Assign):
    name = "assign-group"
    devices, options = [GPU], {"group": "take-all"}


class Release(Operation):
    name = "release"
    devices, options = [NIC], {}

    def prepare(self, rig):
        self.path = rig.client.assign(self.devices, lifetime="persistent", **self.options)

    def send(self, rig):
        self.call = rig.client.send(self.path, "org.pciassign1.Assignment", "Release", "a{sv}", {})

    def told(self, _values):
        return "released"


class ReleaseGroup(Release):
    name = "release-group"
    devices, options = [GPU], {"group": "take-all"}


class OfDevice(Operation):
    """A method of a device that changes nothing of who owns what."""

    device, signature, values = NVME, "a{sv}", ()

    def send(self, rig):
        self.call = rig.client.send(rig.client.device(self.device), DEVICE, self.method, self.signature, *self.values,
                                    options())

    def told(self, _values):
        return None


class Reset(OfDevice):
    name, method = "reset", "Reset"


class VirtualFunctions(OfDevice):
    name, method, device, signature, values = "vfs", "SetVirtualFunctions", PF, "ua{sv}", (2,)


OPERATIONS = [Assign, AssignGroup, Release, ReleaseGroup, Reset, VirtualFunctions]

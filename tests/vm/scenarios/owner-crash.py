# SPDX-License-Identifier: LGPL-2.1-or-later
"""An owner that is killed gives everything back: by its connection, and by its process."""

import os
import signal
import subprocess

import client
import lab

KERNELS = ['6.1']


def came_back(pci, text):
    """The card is the host's again, wholly."""
    lab.wait_until(lambda: lab.driver(pci) == 'virtio-pci' and len(lab.interfaces(pci)) == 1,
                   f'{text}: the card comes back with its interface')
    lab.wait_until(lambda: client.state(pci) == 'host', f'{text}: list says so')
    lab.equal(lab.override(pci), None, f'{text}: no override stays')


def by_connection(pci):
    """The client's end on the bus is the assignment's."""
    receiver = client.Receiver('--crash', pci)
    receiver.require('ready', 'a process holds the card')
    lab.equal(receiver.process.wait(30), -signal.SIGKILL, 'it is killed holding everything')
    came_back(pci, 'connection')


def by_process(pci):
    """The caller lives on; the process that was named does not."""
    bus = client.Bus()
    vmm = subprocess.Popen(lab.as_user('bob', 'sleep', 'infinity'), stdin=subprocess.DEVNULL)
    pidfd = os.pidfd_open(vmm.pid)
    fds = bus.gio.UnixFDList.new_from_array([pidfd])
    message = bus.gio.DBusMessage.new_method_call(client.SERVICE, client.ROOT,
                                                  f'{client.SERVICE}.Manager', 'Assign')
    message.set_body(bus.glib.Variant('(assa{sv})', (
        [pci], 'vm-process', {'lifetime': bus.variant('s', 'process'),
                              'pidfd': bus.variant('h', 0)})))
    message.set_unix_fd_list(fds)
    reply, _serial = bus.connection.send_message_with_reply_sync(
        message, bus.gio.DBusSendMessageFlags.NONE, 120000, None)
    lab.require(reply.get_message_type() != bus.gio.DBusMessageType.ERROR,
                'a card is assigned for the lifetime of a process',
                reply.get_body() and reply.get_body().unpack())
    bus.close()
    lab.equal(client.state(pci), 'assigned', 'it outlives the caller\'s connection')
    vmm.kill()
    vmm.wait()
    came_back(pci, 'process')


client.wait_settled()
by_connection(lab.address('nic1'))
by_process(lab.address('nic2'))

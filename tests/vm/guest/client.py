# SPDX-License-Identifier: LGPL-2.1-or-later
"""How scenarios speak to the service: the command line, D-Bus, and the test's receiver.

Errors on D-Bus come as BusError with both parts of their body; bindings that show only the first
would hide the document that says which rule refused.
"""

import json
import os
import select
import signal
import subprocess
import time

import lab

SERVICE = 'org.pciassign1'
ROOT = '/org/pciassign1'
RECEIVER = '/usr/lib/pciassignd-lab/vfio-user'
OPERATORS = ('pciassignd',)


class BusError(Exception):
    """An error reply: its name without the common prefix, its message, its document."""

    def __init__(self, name, message, details):
        super().__init__(f'{name}: {message}')
        self.name = name.rpartition('.')[2]
        self.message = message
        self.details = details


class Bus:
    """A connection of its own to the system bus; closing it is what a client's end looks like."""

    def __init__(self):
        from gi.repository import Gio, GLib  # slow to load under emulation: only where needed
        self.gio, self.glib = Gio, GLib
        address = Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None)
        flags = (Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT |
                 Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION)
        self.connection = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)

    def call(self, path, interface, method, signature='()', *args, seconds=120):
        """Call a method of the service; the reply's body, unpacked."""
        message = self.gio.DBusMessage.new_method_call(SERVICE, path, interface, method)
        message.set_body(self.glib.Variant(signature, args))
        reply, _serial = self.connection.send_message_with_reply_sync(
            message, self.gio.DBusSendMessageFlags.NONE, seconds * 1000, None)
        body = reply.get_body().unpack() if reply.get_body() else ()
        if reply.get_message_type() == self.gio.DBusMessageType.ERROR:
            details = json.loads(body[1]) if len(body) > 1 else None
            raise BusError(reply.get_error_name(), body[0] if body else '', details)
        return body

    def manager(self, method, signature='()', *args, **kwargs):
        """A method of the Manager."""
        return self.call(ROOT, f'{SERVICE}.Manager', method, signature, *args, **kwargs)

    def get(self, path, interface, name):
        """One property."""
        return self.call(path, 'org.freedesktop.DBus.Properties', 'Get', '(ss)',
                         f'{SERVICE}.{interface}', name)[0]

    def variant(self, signature, value):
        """A value for an option."""
        return self.glib.Variant(signature, value)

    def close(self):
        """Go away as a client that ends does."""
        self.connection.close_sync(None)

    def signals(self, path=None):
        """The service's signals from now on, below PATH."""
        return Signals(self, path)


class Signals:
    """Signals of the service, kept in order."""

    def __init__(self, bus, path):
        self.bus, self.seen = bus, []
        self.context = bus.glib.MainContext.default()
        bus.connection.signal_subscribe(SERVICE, None, None, path, None,
                                        bus.gio.DBusSignalFlags.NONE, self._on_signal)

    def _on_signal(self, _connection, _sender, path, interface, member, body):
        self.seen.append((path, interface, member, body.unpack()))

    def until(self, predicate, seconds=lab.SECONDS):
        """The first signal (path, interface, member, body) that PREDICATE likes, or None."""
        deadline = time.monotonic() + seconds
        timer = self.bus.glib.timeout_add(200, lambda: True)
        try:
            checked = 0
            while True:
                while checked < len(self.seen):
                    checked += 1
                    if predicate(*self.seen[checked - 1]):
                        return self.seen[checked - 1]
                if time.monotonic() > deadline:
                    return None
                self.context.iteration(True)
        finally:
            self.bus.glib.source_remove(timer)


def ctl(*argv, user=None, groups=(), seconds=120):
    """Run pciassignctl; the finished process."""
    command = ['pciassignctl', *argv]
    if user:
        command = lab.as_user(user, *command, groups=groups)
    return lab.run(*command, check_status=False, seconds=seconds)


def ctl_json(*argv, **kwargs):
    """Run pciassignctl with --json, which must succeed; its document."""
    done = ctl(*argv, '--json', **kwargs)
    if done.returncode:
        raise lab.Stop(f'pciassignctl {" ".join(argv)}: exit {done.returncode}: '
                       f'{done.stderr.strip() or done.stdout.strip()}')
    return json.loads(done.stdout)


def listed(pci):
    """The line of `list` for one function."""
    for line in ctl_json('list'):
        if line['address'] == pci:
            return line
    raise lab.Stop(f'{pci} is not in the list')


def state(pci):
    """State of one function as `list` has it."""
    return listed(pci)['state']


def wait_settled():
    """Until the service has read all of the machine."""
    bus = Bus()
    signals = bus.signals(ROOT)
    if not bus.get(ROOT, 'Manager', 'Settled'):
        found = signals.until(lambda _p, _i, member, body: member == 'PropertiesChanged' and
                              body[1].get('Settled') is True)
        lab.require(found or bus.get(ROOT, 'Manager', 'Settled'), 'the service settles')
    bus.close()


class Receiver:
    """The test's orchestrator and VMM as a process; what it says is read an event at a time."""

    def __init__(self, *argv, user='alice', groups=OPERATORS):
        command = [RECEIVER, *argv]
        if user:
            command = lab.as_user(user, *command, groups=groups)
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.events = []
        self.text = b''

    def until(self, name, seconds=120):
        """The event NAME, or the "error" that came instead; {} when it ended or is late."""
        deadline = time.monotonic() + seconds
        output = self.process.stdout.fileno()
        while True:
            line, end, rest = self.text.partition(b'\n')
            if end:
                self.text = rest
                self.events.append(json.loads(line))
                if self.events[-1]['event'] in (name, 'error'):
                    return self.events[-1]
                continue
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                return {}
            data = os.read(output, 65536)
            if not data:
                return {}
            self.text += data

    def require(self, name, text):
        """A check that the event NAME comes."""
        event = self.until(name)
        lab.require(event.get('event') == name, text, self.events[-3:])
        return event

    def said(self, name):
        """All events NAME so far."""
        return [event for event in self.events if event['event'] == name]

    def finish(self, seconds=120):
        """Let it end by itself; its exit status."""
        self.process.stdin.close()
        self.until('nothing more', seconds)
        return self.process.wait(seconds)

    def kill(self):
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def device_path(pci):
    """The object of one function."""
    bus = Bus()
    path = bus.manager('GetDevice', '(s)', pci)[0]
    bus.close()
    return path


def restart_killed(signum=signal.SIGKILL):
    """Kill the daemon where it stands and wait until the service manager has it up again."""
    pid = service_pid()
    os.kill(pid, signum)
    lab.wait_until(lambda: service_pid() not in (0, pid) and service_active(),
                   'the killed daemon is back')


def service_pid():
    """The daemon's process, 0 when there is none."""
    return int(lab.run('systemctl', 'show', '-P', 'MainPID', 'pciassignd.service').stdout)


def service_active():
    """True when the service has said that it is ready."""
    done = lab.run('systemctl', 'is-active', 'pciassignd.service', check_status=False)
    return done.stdout.strip() == 'active'

# SPDX-License-Identifier: LGPL-2.1-or-later
"""One running guest: starts QEMU, speaks to its monitor and to the agent inside.

The agent's line is the second serial port: a JSON object a line both ways. The guest may ask for
monitor commands at any time ("monitor"); everything else that it sends is handed to the caller.
Every wait has a deadline; a guest that misses it is ended, never waited for.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import machine

BOOT_SECONDS = 240
MONITOR_SECONDS = 60
CONNECT_SECONDS = 30


class GuestDied(Exception):
    """QEMU ended, or the guest did not answer in time."""


class Line:
    """JSON objects, one a line, over a connected stream socket."""

    def __init__(self, connection):
        self.connection = connection
        self.buffer = b''

    def send(self, message):
        """Write one object."""
        self.connection.sendall(json.dumps(message).encode() + b'\n')

    def receive(self, deadline):
        """The next object; lines that are none (a kernel's stray print) are skipped."""
        while True:
            line, separator, rest = self.buffer.partition(b'\n')
            if separator:
                self.buffer = rest
                try:
                    return json.loads(line)
                except ValueError:
                    continue
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.connection], [], [], left)[0]:
                raise GuestDied('no answer in time')
            try:
                data = self.connection.recv(65536)
            except ConnectionResetError:
                data = b''
            if not data:
                raise GuestDied('the machine ended')
            self.buffer += data


class Guest:
    """A machine: start() boots it, close() ends QEMU and removes its files."""

    def __init__(self, topology, image, kernel, files, stage=None):
        self.topology = topology
        self.work = pathlib.Path(tempfile.mkdtemp(prefix='pciassignd-vm-'))
        self.share = self.work / 'share'
        self.share.mkdir()
        for name in ('guest', 'scenarios'):
            shutil.copytree(files / name, self.share / name,
                            ignore=shutil.ignore_patterns('__pycache__'))
        (self.share / 'out').mkdir()
        if stage:
            shutil.copytree(stage, self.share / 'stage', symlinks=True)
        self.argv = machine.command(topology, image, kernel, self.work, self.share)
        self.process = self.control = self.qmp = None

    def start(self):
        """Boot until the agent answers; an error holds what the machine printed."""
        try:
            self._start()
        except GuestDied as error:
            why = '\n'.join([str(error), self.qemu_log(), *self.console().splitlines()[-30:]])
            self.close()
            raise GuestDied(why) from error
        except BaseException:
            self.close()
            raise

    def _start(self):
        listeners = []
        for name in ('control', 'qmp'):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.work / name))
            listener.listen(1)
            listener.settimeout(CONNECT_SECONDS)
            listeners.append(listener)
        with open(self.work / 'qemu.log', 'wb') as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        try:
            self.control, self.qmp = (Line(li.accept()[0]) for li in listeners)
        except OSError as error:
            raise GuestDied('QEMU did not start') from error
        finally:
            for listener in listeners:
                listener.close()
        self.qmp.receive(time.monotonic() + MONITOR_SECONDS)
        self.monitor('qmp_capabilities')
        deadline = time.monotonic() + BOOT_SECONDS
        while self.control.receive(deadline).get('event') != 'hello':
            pass
        (self.share / 'devices.json').write_text(json.dumps(self.addresses()))

    def reboot(self):
        """As a power cut does; returns when the agent answers again. Disks keep what was synced."""
        self.monitor('set-action', reboot='reset')
        list(self.ask({'do': 'reboot'}, MONITOR_SECONDS))
        deadline = time.monotonic() + BOOT_SECONDS
        while self.control.receive(deadline).get('event') != 'hello':
            pass
        self.monitor('set-action', reboot='shutdown')

    def monitor(self, name, **arguments):
        """Run one monitor command; its return value, or {"error": …}."""
        self.qmp.send({'execute': name, 'arguments': arguments})
        deadline = time.monotonic() + MONITOR_SECONDS
        while True:
            reply = self.qmp.receive(deadline)
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                return {'error': reply['error'].get('desc', 'unknown')}

    def addresses(self):
        """PCI address of every device with an id, as the guest's firmware numbered the buses."""
        found = {}

        def walk(devices):
            for device in devices:
                if device.get('qdev_id'):
                    found[device['qdev_id']] = (f'0000:{device["bus"]:02x}:'
                                                f'{device["slot"]:02x}.{device["function"]}')
                walk(device.get('pci_bridge', {}).get('devices', []))

        for bus in self.monitor('query-pci'):
            walk(bus['devices'])
        return found

    def ask(self, message, seconds):
        """Send MESSAGE to the agent and yield what it sends until it says that it is done."""
        deadline = time.monotonic() + seconds
        self.control.send(message)
        while True:
            answer = self.control.receive(deadline)
            if 'monitor' in answer:
                self.control.send({'return': self._serve(answer)})
                continue
            yield answer
            if answer.get('event') == 'done':
                return

    def _serve(self, request):
        if request['monitor'] == 'addresses':
            return self.addresses()
        return self.monitor(request['monitor'], **request.get('arguments', {}))

    def qemu_log(self):
        """What QEMU itself printed."""
        return (self.work / 'qemu.log').read_text(errors='replace').strip()

    def console(self):
        """What the guest printed on its console."""
        path = self.work / 'console'
        return path.read_text(errors='replace') if path.exists() else ''

    def close(self):
        """End QEMU and remove the machine's files."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()
        for line in (self.control, self.qmp):
            if line:
                line.connection.close()
        shutil.rmtree(self.work, ignore_errors=True)

# SPDX-License-Identifier: LGPL-2.1-or-later
"""At every write of an assignment and of its release the worker is stopped; then it, or the daemon,
is killed. Nothing is left half-done: the card ends before or after the plan, and can be had again.

strace stops the worker right behind its n-th write to the kernel; n grows until the operation gets
by with fewer. A daemon that comes back while the worker still stands leaves the group alone.
"""

import os
import pathlib
import select
import signal
import subprocess
import time

import client
import lab

KERNELS = ['6.1']
SECONDS = 900
WRITES_MAX = 20
HOST = ('host', None, 'virtio-pci')
ENDED = ('done', 'failed', 'cancelled')
STATE = pathlib.Path('/var/lib/pciassignd')
ASSIGNED = ('assigned', 'vm-a', 'vfio-pci')


def workers():
    """Processes of workers that stand ready or work."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/comm'):
        try:
            if path.read_text(encoding='ascii').startswith('pciassign-worke'):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


class Tracer:
    """Stops whichever worker comes to its n-th write."""

    def __init__(self, number):
        lab.wait_until(workers, 'a worker stands ready')
        self.pids = workers()
        reading, writing = os.pipe()
        self.output = os.fdopen(reading, 'rb', buffering=0)
        self.text = b''
        attach = [word for pid in self.pids for word in ('-p', str(pid))]
        self.process = subprocess.Popen(
            ['strace', '-f', '-qq', '-o', f'/dev/fd/{writing}', '-e', 'trace=write', '-e',
             f'inject=write:signal=SIGSTOP:when={number}', *attach],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=[writing])
        os.close(writing)
        lab.wait_until(lambda: all(self._is_traced(pid) for pid in self.pids), 'it is watched')

    @staticmethod
    def _is_traced(pid):
        try:
            status = pathlib.Path(f'/proc/{pid}/status').read_text(encoding='ascii')
        except OSError:
            return True  # ended by itself: nothing to watch
        return 'TracerPid:\t0\n' not in status

    def stopped(self, command, seconds=60):
        """The process that stands behind its write; None when COMMAND ended before."""
        deadline = time.monotonic() + seconds
        ended = os.pidfd_open(command.pid)
        try:
            while time.monotonic() < deadline:
                ready = select.select([self.output, ended], [], [], seconds)[0]
                if self.output in ready:
                    self.text += os.read(self.output.fileno(), 65536)
                    for line in self.text.decode(errors='replace').splitlines():
                        if 'stopped by SIGSTOP' in line:
                            return int(line.split()[0])
                elif ended in ready:
                    return None
        finally:
            os.close(ended)
        raise lab.Stop('neither a stop nor an end')

    def wrote(self):
        """What the last write was, for a person."""
        lines = [line for line in self.text.decode(errors='replace').splitlines() if 'write(' in line]
        return lines[-1].split('write(', 1)[1].split(' = ')[0] if lines else '?'

    def close(self):
        """Let go of everybody."""
        self.process.terminate()
        self.process.wait()
        self.output.close()


def send(pid, number):
    """A signal, to who may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def outcome(pci):
    """State, owner and driver of the card."""
    line = client.listed(pci)
    return line['state'], line['owner'], lab.driver(pci)


def comes_to(pci, allowed, text):
    """Waits until the card is as allowed, whole."""
    def whole():
        if any(job['state'] not in ENDED for job in client.ctl_json('jobs')):
            return False
        found = outcome(pci)
        return found in allowed and (found == ASSIGNED or lab.override(pci) is None)
    lab.wait_until(whole, text, 120)
    if outcome(pci) == HOST:
        left = [path.name for path in STATE.glob('reservation*')]
        lab.equal(left, [], f'{text}: and no reservation is left')


def kill_daemon(pid, pci, text):
    """It comes back to a group that a worker still stands in, and waits for that one."""
    client.restart_killed()
    listed = client.ctl('list')
    lab.equal(listed.returncode, 0, f'{text}: the new daemon answers')
    other = client.ctl('assign', '--owner=vm-other', pci)
    lab.check(other.returncode in (5, 7), f'{text}: and gives the card to nobody else',
              (other.returncode, other.stderr))
    send(pid, signal.SIGCONT)


def kill_worker(pid, _pci, _text):
    """The daemon finds out what it had done."""
    send(pid, signal.SIGKILL)


def attempt(pci, argv, number, kill, name):
    """One operation with a stop behind its n-th write. False: it needs fewer writes."""
    text = f'{argv[0]}, {name} killed behind write {number}'
    tracer = Tracer(number)
    try:
        command = subprocess.Popen(['pciassignctl', *argv], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        pid = tracer.stopped(command)
        wrote = tracer.wrote()
        tracer.close()
        if pid is None:
            lab.equal(command.wait(), 0, f'{argv[0]} needs fewer than {number} writes')
            return False
        lab.note(f'{text}: {wrote}')
        kill(pid, pci, text)
        command.communicate(timeout=120)
    finally:
        if tracer.process.poll() is None:
            tracer.close()
    client.wait_settled()
    release = argv[0] == 'release'
    comes_to(pci, [HOST] if release else [ASSIGNED, HOST],
             f'{text}: the card is ' + ('released' if release else 'assigned or untouched'))
    lab.run('systemctl', 'reset-failed', 'pciassignd.service', check_status=False)
    return True


def every_write(pci, kill, name):
    """Both ways, at each write."""
    assign = ['assign', '--owner=vm-a', '--lifetime=persistent', '--uid=alice', pci]
    for argv, ready in ((assign, HOST), (['release', pci], ASSIGNED)):
        for number in range(1, WRITES_MAX):
            if outcome(pci) != ready:
                again = ['release', pci] if ready == HOST else assign
                done = client.ctl(*again)
                lab.require(done.returncode == 0, f'{again[0]} works after that', done.stderr)
            if not attempt(pci, argv, number, kill, name):
                break
        lab.check(3 < number < WRITES_MAX - 1, f'{argv[0]}: all {number - 1} writes were tried')
    lab.equal(outcome(pci), HOST, 'in the end the card is the host\'s')


def main():
    """A card for each victim."""
    client.wait_settled()
    every_write(lab.address('nic1'), kill_worker, 'the worker')
    every_write(lab.address('nic2'), kill_daemon, 'the daemon')


main()

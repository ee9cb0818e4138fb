# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a scenario works with: checks, the machine's monitor, PCI facts, waiting for events.

Nothing here waits by time: wait_until() looks again at each kernel event and gives up, as a
failed check, at its deadline. When the scenario ends, every PCI function must have the driver
and override that it began with.
"""

import atexit
import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import time
import traceback

PCI = pathlib.Path('/sys/bus/pci/devices')
DRIVERS = pathlib.Path('/sys/bus/pci/drivers')
GROUPS = pathlib.Path('/sys/kernel/iommu_groups')
NAME = os.environ['LAB_NAME']
BOOT = int(os.environ['LAB_BOOT'])  # 0, then one more after each reboot of the scenario
SECONDS = 30.0

_port = int(os.environ['LAB_PORT'])
_state = {'checks': 0, 'failed': 0, 'ignored': set()}


class Stop(Exception):
    """A check failed that everything after it needs."""


def _send(**message):
    data = json.dumps(message).encode() + b'\n'
    while data:
        data = data[os.write(_port, data):]


def check(condition, text, detail=''):
    """One result line; true when it passed."""
    _state['checks'] += 1
    _state['failed'] += not condition
    _send(event='check', ok=bool(condition), text=text, detail='' if condition else str(detail))
    return bool(condition)


def require(condition, text, detail=''):
    """A check without which the rest makes no sense."""
    if not check(condition, text, detail):
        _state['reported'] = True
        raise Stop(text)


def equal(found, expected, text):
    """A check that two values are equal; tells both when they are not."""
    return check(found == expected, text, f'found {found!r}, expected {expected!r}')


def note(text):
    """A line of output that is no result."""
    _send(event='note', text=text)


def monitor(command, **arguments):
    """A command of the machine's monitor; an {"error": …} answer stops the scenario."""
    _send(monitor=command, arguments=arguments)
    line = b''
    while not line.endswith(b'\n'):
        line += os.read(_port, 4096)
    answer = json.loads(line)['return']
    if isinstance(answer, dict) and 'error' in answer:
        raise Stop(f'monitor {command}: {answer["error"]}')
    return answer


def plug(driver_name, name, **properties):
    """Plug a card into a port of the machine (bus=…); its address once the kernel has it."""
    with Uevents() as events:
        before = set(os.listdir(PCI))
        monitor('device_add', driver=driver_name, id=name, **properties)
        if not events.until(lambda: name in monitor('addresses')
                            and set(os.listdir(PCI)) - before):
            raise Stop(f'{name} was plugged in and did not appear')
    return monitor('addresses')[name]


def press_button(name):
    """Ask for a card's removal as its slot's button does; a slot still at work is asked again."""
    with Uevents() as events:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return monitor('device_del', id=name)
            except Stop:
                if time.monotonic() > deadline:
                    raise
            events.next(0.25)


def devices():
    """Every device of the machine: its name there → its PCI address."""
    return json.loads(pathlib.Path('/lab/devices.json').read_text(encoding='ascii'))


def address(name):
    """The PCI address of the machine's device NAME."""
    return devices()[name]


def run(*argv, check_status=True, seconds=120, **kwargs):
    """Run a command and return it, finished, with its text output."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False,
                          timeout=seconds, stdin=subprocess.DEVNULL, **kwargs)
    if check_status and done.returncode:
        raise Stop(f'{" ".join(map(str, argv))}: exit {done.returncode}: '
                   f'{done.stderr.strip() or done.stdout.strip()}')
    return done


def as_user(user, *argv, groups=()):
    """An argv that runs ARGV as USER, also in GROUPS, with nothing of root's left."""
    more = [f'--groups={",".join(groups)}'] if groups else ['--clear-groups']
    return ['setpriv', f'--reuid={user}', f'--regid={user}', *more, '--inh-caps=-all',
            '--bounding-set=-all', '--no-new-privs', *map(str, argv)]


def write(path, text):
    """Write an attribute, in one write, as the kernel wants it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def load_vfio():
    """Load vfio-pci where it is a module."""
    if not (DRIVERS / 'vfio-pci').exists():
        run('modprobe', 'vfio-pci')


def driver(pci):
    """Name of the driver of the function, or None."""
    link = PCI / pci / 'driver'
    return os.path.basename(os.readlink(link)) if link.is_symlink() else None


def override(pci):
    """The function's driver_override, or None."""
    text = (PCI / pci / 'driver_override').read_text(encoding='ascii').strip()
    return None if text == '(null)' else text


def group(pci):
    """Number of the function's IOMMU group, or None."""
    link = PCI / pci / 'iommu_group'
    return int(os.path.basename(os.readlink(link))) if link.is_symlink() else None


def group_members(pci):
    """Addresses of all functions of the function's group, sorted."""
    return sorted(os.listdir(PCI / pci / 'iommu_group/devices'))


def default_route(interface):
    """Makes the host's default route lead over this interface."""
    run('ip', 'link', 'set', interface, 'up')
    run('ip', 'addr', 'replace', '10.0.2.15/24', 'dev', interface)
    run('ip', 'route', 'replace', 'default', 'via', '10.0.2.2')


def cdevs(pci):
    """Nodes of the function's VFIO character devices; none on a kernel without them."""
    names = [path.name for path in (PCI / pci / 'vfio-dev').glob('*')]
    return [f'/dev/vfio/devices/{name}' for name in names
            if os.path.exists(f'/dev/vfio/devices/{name}')]


def interfaces(pci):
    """Network interfaces of the function (below it, for virtio)."""
    found = []
    for path, names, _files in os.walk(PCI / pci):  # passes over what goes away meanwhile
        if os.path.basename(path) == 'net':
            found += names
    return sorted(found)


class Uevents:
    """The kernel's own event socket, open from construction: nothing after it is missed."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
        self.socket.bind((0, 1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def next(self, seconds):
        """The next event as a dictionary, or None after SECONDS."""
        if not select.select([self.socket], [], [], max(0, seconds))[0]:
            return None
        fields = self.socket.recv(65536).split(b'\0')
        return dict(f.decode(errors='replace').split('=', 1) for f in fields if b'=' in f)

    def until(self, predicate, seconds=SECONDS):
        """True once PREDICATE holds; looks again at every event, and now and then without."""
        deadline = time.monotonic() + seconds
        while not predicate():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.next(min(left, 0.25))
        return True


def wait_until(predicate, text, seconds=SECONDS):
    """A check that PREDICATE comes true before the deadline."""
    with Uevents() as events:
        return check(events.until(predicate, seconds), text, f'not within {seconds} s')


def bind(pci, name):
    """Bind by hand through driver_override, as any tool would; unbinds first."""
    if driver(pci):
        write(PCI / pci / 'driver/unbind', pci)
    write(PCI / pci / 'driver_override', name or '\n')
    write('/sys/bus/pci/drivers_probe', pci)


def kernel_release():
    """The running kernel's version as numbers, for what differs between kernels."""
    return tuple(int(part) for part in os.uname().release.split('.')[:2])


def task_state(pid):
    """State letter of a process, or None when it is gone."""
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text(encoding='utf-8')
    except OSError:
        return None
    return text.rpartition(')')[2].split()[0]


def sleeps_in(pid):
    """The kernel function that a process waits in ('' when none)."""
    try:
        return pathlib.Path(f'/proc/{pid}/wchan').read_text(encoding='ascii')
    except OSError:
        return ''


def _drivers():
    found = {}
    for path in PCI.iterdir():
        found[path.name] = (driver(path.name), override(path.name))
    return found


def changes_expected(*pcis):
    """These functions may end otherwise than they began."""
    _state['ignored'].update(pcis)


def _finish():
    if _state['checks'] == 0:
        check(False, 'the scenario checked something')
    if _state.get('before') is not None:
        after = _drivers()
        differ = {pci: (was, after.get(pci)) for pci, was in _state['before'].items()
                  if after.get(pci) != was and pci not in _state['ignored']}
        check(not differ, 'every function ends with the driver and override it began with',
              differ)


def _failed(kind, value, trace):
    if kind is not Stop:
        check(False, f'no exception: {kind.__name__}: {value}',
              ''.join(traceback.format_tb(trace)[-3:]))
    elif not _state.get('reported'):
        check(False, str(value))
    sys.__excepthook__(kind, value, trace)


_state['before'] = _drivers()
sys.excepthook = _failed
atexit.register(_finish)

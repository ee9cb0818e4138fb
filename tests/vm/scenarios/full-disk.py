# SPDX-License-Identifier: LGPL-2.1-or-later
"""No room where the journal stands, and none where the state stands that outlives a reboot: new work
is refused and says why, nothing that was given is lost, and with room again all goes on."""

import os
import pathlib

import client
import lab

KERNELS = ['6.1']
SECONDS = 300
FRESH = True
UNITS = ['pciassign-worker.socket', 'pciassignd.service']
BLOCK = 4096
# More than the rest of a block.
LABELS = [f'--label=label{number}={"x" * 200}' for number in range(30)]
RUN, STATE = pathlib.Path('/run/pciassignd'), pathlib.Path('/var/lib/pciassignd')


def small(directory):
    """A file system of its own, as small as it can be filled."""
    status = directory.stat()
    lab.run('mount', '-t', 'tmpfs', '-o', f'size=2m,mode={status.st_mode & 0o777:o},'
            f'uid={status.st_uid},gid={status.st_gid}', 'tmpfs', directory)


def fill(directory):
    """Not a block is left, nor those that the journal holds in reserve for this case."""
    for journal in directory.glob('journal'):
        used = len(journal.read_bytes().rstrip(b'\0'))
        begin = -(-used // BLOCK) * BLOCK
        lab.run('fallocate', '--punch-hole', f'--offset={begin}',
                f'--length={max(journal.stat().st_size - begin, BLOCK)}', journal)
    with open(directory / 'filler', 'wb', buffering=0) as filler:
        try:
            while True:
                filler.write(b'\0' * 512)
        except OSError:
            pass


def empty(directory):
    """Room again."""
    (directory / 'filler').unlink()


def assign(pci, *options):
    """One assignment, that outlives who asks."""
    return client.ctl('assign', '--owner=vm-a', '--lifetime=persistent', *options, pci)


def check_refused(directory, kept, fresh, text):
    """With DIRECTORY full: FRESH cannot be had, KEPT is still its owner's."""
    fill(directory)
    refused = assign(fresh, *LABELS)
    lab.equal(refused.returncode, 1, f'{text}: new work is refused')
    lab.check('space' in refused.stderr or 'is full' in refused.stderr,
              f'{text}: and the error says why', refused.stderr)
    lab.equal((lab.driver(fresh), lab.override(fresh)), ('virtio-pci', None),
              f'{text}: nothing was done')
    lab.equal(client.state(kept), 'assigned', f'{text}: what was given is still given')
    opened = client.ctl('open', kept, '--', 'true', '{group}')
    lab.equal(opened.returncode, 0, f'{text}: its owner can open it ' + opened.stderr)
    client.restart_killed()
    client.wait_settled()
    line = client.listed(kept)
    lab.equal((line['state'], line['owner']), ('assigned', 'vm-a'),
              f'{text}: a daemon that is killed comes up and knows it')
    empty(directory)
    granted = assign(fresh, *LABELS)
    lab.equal(granted.returncode, 0, f'{text}: with room again new work is done ' + granted.stderr)
    lab.equal(client.ctl('release', fresh).returncode, 0, f'{text}: and undone')


def main():
    """Both places, with one assignment from before."""
    lab.run('systemctl', 'stop', *UNITS)
    small(RUN)
    small(STATE)
    lab.run('systemctl', 'start', 'pciassignd.service')
    client.wait_settled()
    kept, fresh = lab.address('nic1'), lab.address('nic2')
    lab.equal(assign(kept).returncode, 0, 'a card is given while there is room')
    check_refused(RUN, kept, fresh, 'no room for the journal')
    check_refused(STATE, kept, fresh, 'no room for lasting state')
    fill(RUN)
    released = client.ctl('release', '--no-wait', kept)
    lab.note(f'release without room: exit {released.returncode} {released.stderr.strip()}')
    lab.check(client.state(kept) in ('assigned', 'host'), 'a release without room waits, or is done')
    empty(RUN)
    lab.wait_until(lambda: client.state(kept) == 'host', 'with room again it is done', 60)
    lab.equal(lab.driver(kept), 'virtio-pci', 'the host has it back')
    lab.run('systemctl', 'stop', *UNITS)
    for directory in (RUN, STATE):
        lab.run('umount', '--lazy', directory)
    os.sync()


main()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is killed, idle and in the middle of work, and nothing is lost or left half-done."""

import random
import select
import subprocess
import time

import client
import lab

KERNELS = ['6.1']
SECONDS = 420
ROUNDS = 5


def settled(pci):
    """What became of the card, once the service knows: its state, owner and driver."""
    client.wait_settled()
    line = client.listed(pci)
    return line['state'], line['owner'], lab.driver(pci)


def killed_idle(pci, other):
    """Assignments are found again: one that persists, one whose owner is still there."""
    kept = client.ctl_json('assign', '--owner=vm-kept', '--lifetime=persistent', pci)
    receiver = client.Receiver('--hold', '--release', other)
    receiver.require('ready', 'another card is in use')
    client.restart_killed()
    lab.equal(settled(pci), ('assigned', 'vm-kept', 'vfio-pci'), 'the idle card is still assigned')
    lab.equal(settled(other), ('assigned', 'vm-lab', 'vfio-pci'), 'the one in use as well')
    lab.equal(receiver.finish(), 0, 'its owner can release it')
    lab.equal(settled(other)[0], 'host', 'and it is the host\'s')
    lab.equal(client.ctl('release', kept['assignment']).returncode, 0, 'the other is released too')
    lab.equal(settled(pci), ('host', None, 'virtio-pci'), 'and is the host\'s')


def timed(*argv):
    """How long a command takes that succeeds."""
    begun = time.monotonic()
    done = client.ctl(*argv)
    lab.require(done.returncode == 0, f'{argv[0]} works undisturbed', done.stderr)
    return time.monotonic() - begun


def killed_during(text, argv, after):
    """Kill the daemon AFTER seconds into a command; the command's exit status."""
    command = subprocess.Popen(['pciassignctl', *argv], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    select.select([], [], [], after)
    client.restart_killed()
    output = command.communicate(timeout=90)[0]
    lab.note(f'{text}: killed after {after:.2f} s, the command exits {command.returncode}: '
             f'{output.strip()[-100:]}')
    return command.returncode


def rounds(pci, seed):
    """Kill in assignments and releases at moments that the seed picks."""
    chance = random.Random(seed)
    assign = ['assign', '--owner=vm-a', '--lifetime=persistent', pci]
    length = timed(*assign)
    back = timed('release', pci)
    for number in range(ROUNDS):
        status = killed_during('assign', assign, chance.uniform(0, length))
        found = settled(pci)
        allowed = [('assigned', 'vm-a', 'vfio-pci')]
        if status:
            allowed.append(('host', None, 'virtio-pci'))
        if not lab.check(found in allowed, f'round {number}: assigned or untouched', found):
            return
        if found[0] == 'host':
            lab.equal(lab.override(pci), None, f'round {number}: no override stays')
            timed(*assign)
        killed_during('release', ['release', pci], chance.uniform(0, back))
        found = settled(pci)
        if found[0] == 'assigned':
            timed('release', pci)
            found = settled(pci)
        lab.equal(found, ('host', None, 'virtio-pci'), f'round {number}: released')
        lab.run('systemctl', 'reset-failed', 'pciassignd.service', check_status=False)


def main():
    """The seed is told, so that a failure can be had again."""
    client.wait_settled()
    killed_idle(lab.address('nic1'), lab.address('nic2'))
    seed = int(time.time())
    lab.note(f'seed {seed}')
    rounds(lab.address('nic3'), seed)


main()

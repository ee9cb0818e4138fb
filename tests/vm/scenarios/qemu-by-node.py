# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VMM that is not ours opens its device by node: QEMU around which `run` holds an assignment."""

import json
import os
import subprocess

import client
import lab

KERNELS = ['6.1']
SECONDS = 300
QEMU = ['qemu-system-x86_64', '-M', 'q35', '-accel', 'tcg', '-m', '64', '-nodefaults', '-display',
        'none', '-S', '-qmp', 'stdio']


def monitor(vmm, name):
    """One command of the inner machine's monitor."""
    vmm.stdin.write(json.dumps({'execute': name}) + '\n')
    vmm.stdin.flush()
    while True:
        line = vmm.stdout.readline()
        if not line:
            return None
        answer = json.loads(line)
        if 'return' in answer or 'error' in answer:
            return answer.get('return')


def round_trip(pci, text, *options):
    """Run QEMU with the device, look at it from inside QEMU, end it."""
    vmm = subprocess.Popen(['pciassignctl', 'run', *options, pci, '--', *QEMU, '-device',
                            'vfio-pci,host={address}'],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    greeting = vmm.stdout.readline()
    lab.require('QMP' in greeting, f'{text}: QEMU comes up', greeting)
    monitor(vmm, 'qmp_capabilities')
    functions = [d['id'] for bus in monitor(vmm, 'query-pci') for d in bus['devices']]
    lab.check((0x1af4, 0x1041) in [(f['vendor'], f['device']) for f in functions],
              f'{text}: it has the card', functions)
    lab.equal(client.state(pci), 'assigned', f'{text}: the card is assigned')
    node = os.stat(f'/dev/vfio/{lab.group(pci)}')
    expected = 1001 if options else 0
    lab.equal(node.st_uid, expected, f'{text}: the node is its user\'s')
    lab.run('udevadm', 'trigger', '--settle', '--action=change', f'/dev/vfio/{lab.group(pci)}')
    lab.equal(os.stat(f'/dev/vfio/{lab.group(pci)}').st_uid, expected,
              f'{text}: and stays so when udev looks at it again')
    monitor(vmm, 'quit')
    lab.equal(vmm.wait(60), 0, f'{text}: QEMU and run end well')
    lab.wait_until(lambda: lab.driver(pci) == 'virtio-pci', f'{text}: the card comes back')


client.wait_settled()
round_trip(lab.address('nic1'), 'as root')
round_trip(lab.address('nic1'), 'as a user', '--uid=alice', '--gid=alice', '--memlock=512M')

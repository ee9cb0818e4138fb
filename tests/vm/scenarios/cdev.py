# SPDX-License-Identifier: LGPL-2.1-or-later
"""A monitor around which `run` holds an assignment gets its device the iommufd way: as descriptors
in place of {iommufd} and {vfio}, and by opening the nodes itself, as root and as a user."""

import json
import os
import stat
import subprocess

import client
import lab

KERNELS = ['own']


def check_used(monitor, pci, text):
    """What the monitor says of the device it was given."""
    said = []
    for line in monitor.stdout:
        said.append(json.loads(line))
        if said[-1]['event'] in ('ready', 'error'):
            break
    events = {event['event']: event for event in said}
    lab.require('ready' in events, f'{text}: the monitor has the card', said)
    lab.equal(events['mapped']['bytes'], 65536, f'{text}: it mapped memory for DMA')
    device = events['device']
    lab.equal((device['address'], device['vendor']), (pci, 0x1af4),
              f'{text}: it read its configuration space')
    lab.check(set(device['words']) - {0, 0xffffffff}, f'{text}: it read a BAR of it', device)


def round_trip(pci, text, owner, options, words):
    """One run of the monitor."""
    monitor = subprocess.Popen(['pciassignctl', 'run', *options, pci, '--', client.RECEIVER,
                                '--hold', *words, '{address}'],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    check_used(monitor, pci, text)
    lab.equal(client.state(pci), 'assigned', f'{text}: the card is assigned')
    nodes = lab.cdevs(pci)
    lab.equal(len(nodes), 1, f'{text}: it has a character device')
    status = os.stat(nodes[0])
    lab.check(stat.S_ISCHR(status.st_mode) and (status.st_uid, status.st_mode & 0o077) == (owner, 0),
              f'{text}: the node is its user\'s alone', status)
    monitor.stdin.close()
    lab.equal(monitor.wait(60), 0, f'{text}: monitor and run end well')
    lab.wait_until(lambda: lab.driver(pci) == 'virtio-pci', f'{text}: the card comes back')


def main():
    """Three ways."""
    client.wait_settled()
    pci = lab.address('nic1')
    given = ['--iommufd={iommufd}', '--cdev={vfio}']
    round_trip(pci, 'descriptors', 0, [], given)
    round_trip(pci, 'descriptors, as a user', 1001, ['--uid=alice', '--gid=alice'], given)
    round_trip(pci, 'by node', 0, [], ['--node'])
    # The administrator's part: an iommufd by itself gives access to no device.
    before = os.stat('/dev/iommu').st_mode & 0o777
    os.chmod('/dev/iommu', 0o666)
    round_trip(pci, 'by node, as a user', 1001, ['--uid=alice', '--gid=alice'], ['--node'])
    os.chmod('/dev/iommu', before)


main()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several devices go into one container of one receiver: of one group, and of two groups."""

import client
import lab

KERNELS = ['6.1', '6.12']


def round_trip(text, *names):
    """Assign all of NAMES to one receiver, use each, give them back."""
    pcis = [lab.address(name) for name in names]
    receiver = client.Receiver('--hold', '--release', *pcis)
    receiver.require('ready', f'{text}: one receiver uses all of them')
    lab.equal(sorted(d['address'] for d in receiver.said('device')), sorted(pcis),
              f'{text}: each was read')
    lab.equal(len(receiver.said('mapped')), 1, f'{text}: through one mapping')
    lab.equal({client.state(pci) for pci in pcis}, {'assigned'}, f'{text}: all are assigned')
    lab.equal(receiver.finish(), 0, f'{text}: they are released together')
    for pci in pcis:
        lab.equal(lab.driver(pci), 'virtio-pci', f'{text}: {pci} is back on virtio-pci')


client.wait_settled()
round_trip('one group', 'dual0', 'dual1')
round_trip('two groups', 'nic1', 'nic2')
round_trip('mixed', 'dual0', 'dual1', 'nic3')

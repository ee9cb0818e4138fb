# SPDX-License-Identifier: LGPL-2.1-or-later
"""A network card goes from its driver to an unprivileged process and back.

The process asks over D-Bus, maps memory for DMA and reads a BAR with nothing but what it was
handed; afterwards the card is on its driver again, with its network interface.
"""

import os

import client
import lab

KERNELS = ['6.1', '6.12', 'own']


def check_given(pci, receiver):
    """While the receiver holds the card."""
    lab.equal(lab.driver(pci), 'vfio-pci', 'the card is on vfio-pci')
    lab.equal(lab.interfaces(pci), [], 'its network interface is gone')
    line = client.listed(pci)
    lab.equal(line['state'], 'assigned', 'list says that it is assigned')
    lab.equal(line['owner'], 'vm-lab', 'and to whom')
    lab.equal(line['driver'], 'vfio-pci', 'and its driver')
    mapped, device = receiver.said('mapped'), receiver.said('device')
    lab.equal(mapped[0]['bytes'] if mapped else 0, 65536, 'the receiver mapped memory for DMA')
    lab.equal([d['address'] for d in device], [pci], 'it has the device')
    lab.equal(device[0]['vendor'], 0x1af4, 'it read its configuration space')
    lab.check(set(device[0]['words']) - {0, 0xffffffff}, 'it read a BAR of it', device[0])
    group = os.stat(f'/dev/vfio/{lab.group(pci)}')
    lab.equal((group.st_uid, group.st_mode & 0o777), (0, 0o600), 'the node stayed closed')


def check_back(pci):
    """After the release."""
    lab.equal(lab.driver(pci), 'virtio-pci', 'the card is back on virtio-pci')
    lab.equal(lab.override(pci), None, 'without an override')
    lab.wait_until(lambda: len(lab.interfaces(pci)) == 1, 'with its network interface')
    lab.equal(client.state(pci), 'host', 'list says that it is the host\'s')
    lab.equal(client.listed(pci)['owner'], None, 'and nobody\'s')


def round_trip(pci, *options):
    """One assignment from the call to the release."""
    receiver = client.Receiver('--hold', '--release', *options, pci)
    receiver.require('ready', f'{" ".join(options) or "by group"}: an unprivileged process gets '
                     'the card')
    check_given(pci, receiver)
    lab.equal(receiver.finish(), 0, 'the receiver lets go and releases')
    check_back(pci)


def main():
    """Twice: what was given back can be given again."""
    client.wait_settled()
    pci = lab.address('nic1')
    lab.equal(client.state(pci), 'host', 'the card begins as the host\'s')
    round_trip(pci)
    round_trip(pci, '--device-fd')


main()

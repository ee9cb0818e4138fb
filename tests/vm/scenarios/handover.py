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
    for node in [f'/dev/vfio/{lab.group(pci)}', *lab.cdevs(pci)]:
        status = os.stat(node)
        lab.equal((status.st_uid, status.st_mode & 0o077), (0, 0), f'{node} stayed closed')


def check_back(pci):
    """After the release."""
    lab.equal(lab.driver(pci), 'virtio-pci', 'the card is back on virtio-pci')
    lab.equal(lab.override(pci), None, 'without an override')
    lab.wait_until(lambda: len(lab.interfaces(pci)) == 1, 'with its network interface')
    lab.equal(client.state(pci), 'host', 'list says that it is the host\'s')
    lab.equal(client.listed(pci)['owner'], None, 'and nobody\'s')


def check_opened(receiver, cdev):
    """How it was handed over."""
    opened = receiver.said('opened')[0]
    lab.equal({key: opened[key] for key in ('api', 'cdevs', 'container', 'iommufd')},
              {'api': 'cdev', 'cdevs': 1, 'container': 0, 'iommufd': 1} if cdev else
              {'api': 'group', 'cdevs': 0, 'container': 1, 'iommufd': 0},
              'by ' + ('character device and iommufd' if cdev else 'group and container'))


def round_trip(pci, *options):
    """One assignment from the call to the release."""
    receiver = client.Receiver('--hold', '--release', *options, pci)
    receiver.require('ready', f'{" ".join(options) or "by group"}: an unprivileged process gets '
                     'the card')
    check_opened(receiver, '--api=cdev' in options)
    check_given(pci, receiver)
    lab.equal(receiver.finish(), 0, 'the receiver lets go and releases')
    check_back(pci)


def refused_without_cdevs(pci):
    """A kernel without them says so, and the assignment goes back."""
    receiver = client.Receiver('--api=cdev', pci)
    event = receiver.until('ready')
    lab.equal(event.get('name'), 'org.pciassign1.Error.NotSupported',
              'a kernel without character devices says so')
    receiver.finish()
    lab.wait_until(lambda: client.state(pci) == 'host', 'and the card is given back')


def main():
    """Twice: what was given back can be given again."""
    client.wait_settled()
    pci = lab.address('nic1')
    lab.equal(client.state(pci), 'host', 'the card begins as the host\'s')
    round_trip(pci)
    round_trip(pci, '--device-fd')
    if os.path.exists('/dev/iommu'):
        round_trip(pci, '--api=cdev')
    else:
        refused_without_cdevs(pci)


main()

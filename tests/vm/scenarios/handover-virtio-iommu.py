# SPDX-License-Identifier: LGPL-2.1-or-later
"""A card behind a virtio IOMMU is handed over as one behind a real one is."""

import client
import lab

TOPOLOGY = 'virtio-iommu'
KERNELS = ['6.12']

client.wait_settled()
card = lab.address('nic1')
receiver = client.Receiver('--hold', '--release', card)
receiver.require('ready', 'an unprivileged process gets the card')
lab.equal(client.state(card), 'assigned', 'list says that it is assigned')
lab.equal(receiver.finish(), 0, 'the receiver lets go and releases')
lab.equal(lab.driver(card), 'virtio-pci', 'the card is back on virtio-pci')

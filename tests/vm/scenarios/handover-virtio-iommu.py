# SPDX-License-Identifier: LGPL-2.1-or-later
"""A card behind a virtio IOMMU, which isolates no interrupts, is handed over once the administrator
has said that this is known."""

import pathlib

import client
import lab

TOPOLOGY = 'virtio-iommu'
KERNELS = ['6.12']

client.wait_settled()
card = lab.address('nic1')
lab.load_vfio()
lab.run('modprobe', 'vfio_iommu_type1')
refused = client.ctl('assign', '--owner=vm-a', card)
lab.equal(refused.returncode, 4, 'without isolated interrupts it is refused')
lab.check('interrupt' in refused.stderr, 'and the refusal says so', refused.stderr)
lab.equal(lab.driver(card), 'virtio-pci', 'it is back on virtio-pci')
unsafe = pathlib.Path('/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts')
lab.write(unsafe, '1')
receiver = client.Receiver('--hold', '--release', card)
receiver.require('ready', 'an unprivileged process gets the card')
lab.equal(client.state(card), 'assigned', 'list says that it is assigned')
lab.equal(receiver.finish(), 0, 'the receiver lets go and releases')
lab.equal(lab.driver(card), 'virtio-pci', 'the card is back on virtio-pci')
lab.write(unsafe, '0')

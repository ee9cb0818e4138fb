# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine with a virtio IOMMU: groups appear once its module is there."""

import lab

TOPOLOGY = 'virtio-iommu'
KERNELS = ['6.12']
SERVICE = ''

lab.check(lab.kernel_release() >= (6, 12), 'the kernel knows virtio-iommu')
for name in ('nic1', 'nic2', 'disk1'):
    pci = lab.address(name)
    lab.equal(lab.group_members(pci), [pci], f'{name} has its own group')
lab.equal(lab.driver(lab.address('root')), 'virtio-pci', 'the root disk was not left deferred')

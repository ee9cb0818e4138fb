# SPDX-License-Identifier: LGPL-2.1-or-later
"""Without an IOMMU nothing is given away, and doctor says what is missing."""

import client
import lab

TOPOLOGY = 'bare'
KERNELS = ['6.1']

client.wait_settled()
verdict = client.ctl('doctor')
lab.check(verdict.returncode not in (0, 2, 8), 'doctor says no by its exit status',
          verdict.returncode)
lab.check('iommu' in (verdict.stdout + verdict.stderr).lower(), 'and names the IOMMU',
          verdict.stdout)
pci = lab.address('nic1')
done = client.ctl('assign', '--owner=vm-a', '--json', pci)
lab.equal(done.returncode, 4, 'a card without a group is refused')
lab.equal(lab.driver(pci), 'virtio-pci', 'and keeps its driver')

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine without an IOMMU has no groups."""

import os

import lab

TOPOLOGY = 'bare'
SERVICE = ''

lab.equal(os.listdir(lab.GROUPS), [], 'there is no IOMMU group')
lab.equal(lab.group(lab.address('nic1')), None, 'a card has none')

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our udev rules: a node that was given away keeps its user; new cards find their driver."""

import os
import pathlib

import lab

KERNELS = ['6.1', '6.12']
SERVICE = 'installed'

ADMIN_RULE = pathlib.Path('/run/udev/rules.d/99-admin.rules')


def owner(path):
    """User, group and mode of a node."""
    found = os.stat(path)
    return found.st_uid, found.st_gid, found.st_mode & 0o777


def check_nodes():
    """An administrator's own rule for VFIO nodes applies to those that nobody was given."""
    pcis = [lab.address('nic1'), lab.address('nic2')]
    given, free = (f'/dev/vfio/{lab.group(pci)}' for pci in pcis)
    lab.load_vfio()
    for pci in pcis:
        lab.bind(pci, 'vfio-pci')
    lab.run('udevadm', 'settle')
    lab.equal(owner(given), (0, 0, 0o600), 'a new node is root\'s')
    record = pathlib.Path('/run/pciassign-worker/nodes', os.path.basename(given))
    record.parent.mkdir(exist_ok=True)
    record.write_text('PCIASSIGN_UID=1001\nPCIASSIGN_GID=1002\n', encoding='ascii')
    os.chown(given, 1001, 1002)
    ADMIN_RULE.parent.mkdir(parents=True, exist_ok=True)
    ADMIN_RULE.write_text('SUBSYSTEM=="vfio", OWNER="root", GROUP="audio", MODE="0660"\n',
                          encoding='ascii')
    lab.run('udevadm', 'control', '--reload')
    lab.run('udevadm', 'trigger', '--settle', '--action=change', '--subsystem-match=vfio')
    lab.equal(owner(given), (1001, 1002, 0o600), 'a node that was given away stays as it is')
    audio = int(lab.run('getent', 'group', 'audio').stdout.split(':')[2])
    lab.equal(owner(free), (0, audio, 0o660), 'another follows the administrator\'s rule')
    record.unlink()
    ADMIN_RULE.unlink()
    lab.run('udevadm', 'control', '--reload')
    for pci in pcis:
        lab.bind(pci, None)


def check_drivers():
    """A card that is plugged in finds the VFIO driver loaded."""
    lab.run('modprobe', '-r', 'vfio-pci')
    lab.check(not (lab.DRIVERS / 'vfio-pci').exists(), 'no VFIO driver is loaded')
    late = lab.plug('virtio-rng-pci', 'late', bus='port-empty')
    lab.wait_until((lab.DRIVERS / 'vfio-pci').exists, 'a card that comes brings it')
    lab.press_button('late')
    lab.wait_until(lambda: not (lab.PCI / late).exists(), 'the card goes')


check_nodes()
check_drivers()

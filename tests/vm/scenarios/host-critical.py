# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host needs is refused, and the refusal proves why.

The disk of /, the network card of the default route, a chipset function; then disks that are
needed without saying so plainly: below md, below dm, mounted in another mount namespace only,
and as the lower layer of an overlay that is all that is left of a mount.
"""

import os
import pathlib
import subprocess
import sys

import client
import lab

KERNELS = ['6.1', '6.12']
SECONDS = 300


def disk_node(name):
    """The block device of the machine's disk NAME."""
    found = sorted((lab.PCI / lab.address(name)).glob('virtio*/block/*'))
    return found[0].name


def refused(pci, text, *proof):
    """PCI is refused as the host's, with every word of PROOF, and nothing happened to it."""
    before = lab.driver(pci)
    done = client.ctl('assign', '--owner=vm-a', '--json', pci)
    said = done.stdout + done.stderr
    lab.equal(done.returncode, 4, f'{text}: it is refused')
    for word in proof:
        lab.check(word in said, f'{text}: the refusal names {word}', said)
    lab.equal(lab.driver(pci), before, f'{text}: it keeps its driver')


def granted(pci, text):
    """PCI can be had now."""
    got = client.ctl_json('assign', '--owner=vm-a', pci)
    lab.equal(lab.driver(pci), 'vfio-pci', f'{text}: it is granted')
    client.ctl('release', got['assignment'])
    lab.equal(lab.driver(pci), 'virtio-pci', f'{text}: and comes back')


def check_plain():
    """Root disk, default route, chipset."""
    interface = lab.interfaces(lab.address('mgmt'))[0]
    lab.default_route(interface)
    refused(lab.address('root'), 'the disk of /', disk_node('root'), '→ /')
    refused(lab.address('mgmt'), 'the card of the default route', interface)
    refused('0000:00:1f.0', 'a chipset function')
    refused('0000:00:1f.2', 'a group mate of the chipset')
    interface = lab.interfaces(lab.address('nic2'))[0]
    lab.run('ip', 'link', 'add', 'br-lab', 'type', 'bridge')
    lab.run('ip', 'link', 'set', interface, 'up', 'master', 'br-lab')
    lab.run('ip', 'link', 'set', 'br-lab', 'up')
    lab.run('ip', 'route', 'replace', '192.0.2.0/24', 'dev', 'br-lab')
    refused(lab.address('nic2'), 'a card below a bridge with a route', interface, 'br-lab')
    lab.run('ip', 'link', 'del', 'br-lab')
    granted(lab.address('nic2'), 'without the bridge')


def check_mapped(pci):
    """A file system on a device-mapper target over the disk."""
    node = disk_node('disk2')
    lab.run('dmsetup', 'create', 'lab', '--table', f'0 65536 linear /dev/{node} 0')
    lab.run('mkfs.ext4', '-q', '-F', '/dev/mapper/lab')
    mount = pathlib.Path('/run/lab-mount')
    mount.mkdir(exist_ok=True)
    lab.run('mount', '/dev/mapper/lab', mount)
    refused(pci, 'a disk below device-mapper', node, 'dm-', str(mount))
    lab.run('umount', mount)
    lab.run('dmsetup', 'remove', '--retry', 'lab')


def check_array(pci):
    """An array with one of the machine's disks in it, mounted."""
    node, other = disk_node('disk2'), disk_node('disk1')
    lab.run('mdadm', '--create', '/dev/md127', '--run', '--level=1', '--raid-devices=2',
            '--metadata=1.2', f'/dev/{node}', f'/dev/{other}')
    lab.run('mkfs.ext4', '-q', '-F', '/dev/md127')
    mount = pathlib.Path('/run/lab-mount')
    lab.run('mount', '/dev/md127', mount)
    refused(pci, 'a disk below an array', node, 'md127', str(mount))
    lab.run('umount', mount)
    lab.run('mdadm', '--stop', '/dev/md127')
    for name in (node, other):
        lab.run('mdadm', '--zero-superblock', f'/dev/{name}')


def check_hidden(pci):
    """Mounted, but in no mount table that the host shows."""
    node = disk_node('disk2')
    lab.run('mkfs.ext4', '-q', '-F', f'/dev/{node}')
    keeper = subprocess.Popen(
        ['unshare', '--mount', '--propagation', 'private', 'sh', '-c',
         f'mount /dev/{node} /mnt && echo mounted && cat'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lab.equal(keeper.stdout.readline().strip(), 'mounted', 'a mount in another namespace')
    refused(pci, 'a disk mounted in another namespace', node)
    keeper.stdin.close()
    keeper.wait()
    lower, rest = pathlib.Path('/run/lab-lower'), pathlib.Path('/run/lab-overlay')
    for path in (lower, rest, *(rest / part for part in ('upper', 'work', 'merged'))):
        path.mkdir(exist_ok=True)
    lab.run('mount', f'/dev/{node}', lower)
    lab.run('mount', '-t', 'overlay', 'overlay', '-o',
            f'lowerdir={lower},upperdir={rest}/upper,workdir={rest}/work', rest / 'merged')
    lab.run('umount', '--lazy', lower)
    refused(pci, 'the lower layer of an overlay', node)
    lab.run('umount', rest / 'merged')


def main():
    """From the plain to the hidden, on one disk that is free in between."""
    client.wait_settled()
    check_plain()
    pci = lab.address('disk2')
    os.makedirs('/run/lab-mount', exist_ok=True)
    check_mapped(pci)
    check_array(pci)
    check_hidden(pci)
    granted(pci, 'an unused disk')
    with open('/proc/swaps', encoding='ascii') as swaps:
        lab.equal(len(swaps.readlines()), 1, 'no swap yet')
    lab.run('mkswap', f'/dev/{disk_node("disk2")}')
    lab.run('swapon', f'/dev/{disk_node("disk2")}')
    refused(pci, 'a disk that is swapped to', disk_node('disk2'), 'swap')
    lab.run('swapoff', f'/dev/{disk_node("disk2")}')
    granted(pci, 'without swap')
    sys.stdout.flush()


main()

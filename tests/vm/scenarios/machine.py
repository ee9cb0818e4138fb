# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine itself is what the other scenarios take it for: systemd, groups, VFIO by hand."""

import os
import subprocess
import sys

import lab

TOPOLOGY = 'intel'
KERNELS = ['6.1', '6.12', 'own']
SERVICE = ''
SECONDS = 240

# A process that opens a VFIO device and says so, then holds it until its stdin closes.
HOLDER = '''
import fcntl, os, struct, sys
group, pci = sys.argv[1:]
container = os.open("/dev/vfio/vfio", os.O_RDWR)
fd = os.open("/dev/vfio/" + group, os.O_RDWR)
fcntl.ioctl(fd, 0x3B68, struct.pack("i", container))
fcntl.ioctl(container, 0x3B66, 3)
device = fcntl.ioctl(fd, 0x3B6A, bytearray(pci.encode() + bytes(1)))
print(os.pread(device, 2, 7 << 40).hex(), flush=True)
sys.stdin.read()
'''


def check_boot():
    """systemd runs the machine and everything came up."""
    with open('/proc/1/comm', encoding='ascii') as comm:
        lab.equal(comm.read().strip(), 'systemd', 'process 1 is systemd')
    state = lab.run('systemctl', 'is-system-running', check_status=False).stdout.strip()
    failed = lab.run('systemctl', '--failed', '--no-legend', '--plain').stdout
    lab.check(state == 'running', 'the system is up without a failed unit', failed)
    disk = lab.run('findmnt', '-n', '-o', 'SOURCE', '/').stdout.strip()
    path = os.path.realpath('/sys/class/block/' + os.path.basename(disk))
    lab.check(lab.address('root') in path, '/ is on the PCI disk "root"', path)


def check_groups():
    """Groups are as each card's place says."""
    address = lab.address
    for name in ('nic1', 'nic2', 'nic3', 'nvme', 'disk1', 'edu'):
        lab.equal(lab.group_members(address(name)), [address(name)], f'{name} has its own group')
    dual = sorted([address('dual0'), address('dual1')])
    lab.equal(lab.group_members(dual[0]), dual, 'two functions of one card share a group')
    members = lab.group_members(address('conv0'))
    lab.check(address('conv1') in members, 'two conventional cards share a group', members)
    chipset = lab.group_members('0000:00:1f.0')
    lab.check('0000:00:1f.2' in chipset, 'the chipset functions share a group', chipset)


def check_by_hand():
    """A device goes to vfio-pci, is used, blocks its unbind while held, and comes back."""
    pci = lab.address('nic1')
    lab.equal(lab.driver(pci), 'virtio-pci', 'nic1 begins on virtio-pci')
    lab.equal(len(lab.interfaces(pci)), 1, 'nic1 has a network interface')
    lab.load_vfio()
    lab.bind(pci, 'vfio-pci')
    lab.equal(lab.driver(pci), 'vfio-pci', 'nic1 goes to vfio-pci by driver_override')
    holder = subprocess.Popen([sys.executable, '-c', HOLDER, str(lab.group(pci)), pci],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lab.equal(holder.stdout.readline().strip(), 'f41a', 'its config space is read through VFIO')
    unbind = subprocess.Popen(['sh', '-c', f'echo {pci} > /sys/bus/pci/drivers/vfio-pci/unbind'])
    lab.wait_until(lambda: 'vfio' in lab.sleeps_in(unbind.pid),
                   'unbinding a held device blocks in the kernel')
    lab.check(unbind.poll() is None, 'the unbind has not returned')
    holder.stdin.close()
    holder.wait()
    lab.equal(unbind.wait(30), 0, 'it returns when the holder lets go')
    lab.equal(lab.driver(pci), None, 'nic1 has no driver then')
    lab.bind(pci, None)
    lab.equal(lab.driver(pci), 'virtio-pci', 'nic1 comes back to virtio-pci')
    lab.equal(len(lab.interfaces(pci)), 1, 'with its network interface')


def check_virtual_functions():
    """The NVMe controller makes virtual functions, each with its own group."""
    pci = lab.address('nvme')
    with open('/sys/bus/pci/drivers_autoprobe', encoding='ascii') as flag:
        lab.equal(flag.read().strip(), '1', 'drivers are probed on their own')
    lab.write(lab.PCI / pci / 'sriov_drivers_autoprobe', '0')
    lab.write(lab.PCI / pci / 'sriov_numvfs', '4')
    functions = [os.path.basename(os.readlink(lab.PCI / pci / f'virtfn{n}')) for n in range(4)]
    groups = {lab.group(vf) for vf in functions}
    lab.equal(len(groups), 4, 'four virtual functions have four groups')
    lab.write(lab.PCI / pci / 'sriov_numvfs', '0')
    lab.write(lab.PCI / pci / 'sriov_drivers_autoprobe', '1')


def check_monitor():
    """Cards come and go through the machine's monitor; errors can be injected."""
    late = lab.plug('virtio-rng-pci', 'late', bus='port-empty')
    lab.equal(lab.group_members(late), [late], 'a card that is plugged in appears, with a group')
    lab.press_button('late')
    lab.wait_until(lambda: not (lab.PCI / late).exists(), 'and goes when its button is pressed')
    pci = lab.address('nic2')
    counter = lab.PCI / pci / 'aer_dev_nonfatal'
    before = counter.read_text('ascii')
    lab.monitor('human-monitor-command',
                **{'command-line': 'pcie_aer_inject_error nic2 COMP_TIME'})
    lab.wait_until(lambda: counter.read_text('ascii') != before,
                   'an injected error reaches the counters')


check_boot()
check_groups()
check_by_hand()
check_virtual_functions()
check_monitor()

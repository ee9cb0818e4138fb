# SPDX-License-Identifier: LGPL-2.1-or-later
"""A foreign tool's unbind that a holding VMM blocks costs one device and nothing else."""

import os
import signal
import subprocess
import time

import client
import lab

KERNELS = ['6.1']
FRESH = True
SECONDS = 420


def check_others(text):
    """Everything but the blocked card works, and looking at that one hangs nothing."""
    begun = time.monotonic()
    lines = client.ctl_json('list')
    lab.equal(len(lines), len(os.listdir(lab.PCI)), f'{text}: list is complete')
    lab.note(f'{text}: list took {time.monotonic() - begun:.1f} s')
    shown = client.ctl('show', lab.address('nic1'), seconds=100)
    lab.equal(shown.returncode, 0, f'{text}: show of the blocked card answers {shown.stderr}')
    pci = lab.address('nic2')
    done = client.ctl('assign', '--owner=vm-b', pci)
    lab.equal(done.returncode, 0, f'{text}: another card is assigned {done.stderr}')
    lab.equal(lab.driver(pci), 'vfio-pci', f'{text}: it is on vfio-pci')
    lab.equal(client.ctl('release', pci).returncode, 0, f'{text}: and released')
    lab.equal(lab.driver(pci), 'virtio-pci', f'{text}: and back')


def main():
    """Hold, block, look, restart, let go."""
    client.wait_settled()
    pci = lab.address('nic1')
    receiver = client.Receiver('--hold', '--owner=vm-held', pci)
    receiver.require('ready', 'a VMM holds the card')
    tool = subprocess.Popen(['sh', '-c', f'echo {pci} > /sys/bus/pci/drivers/vfio-pci/unbind'])
    lab.wait_until(lambda: 'vfio' in lab.sleeps_in(tool.pid), 'a foreign unbind blocks')
    tool.send_signal(signal.SIGKILL)
    lab.wait_until(lambda: lab.task_state(tool.pid) == 'D', 'killed, it sleeps in the kernel')
    reader = subprocess.Popen(['cat', lab.PCI / pci / 'uevent'], stdout=subprocess.DEVNULL)
    lab.wait_until(lambda: lab.task_state(reader.pid) == 'D', 'its uevent attribute is poisoned')

    check_others('blocked')
    client.restart_killed()
    client.wait_settled()
    check_others('blocked, after a restart')
    lab.check(tool.poll() is None and reader.poll() is None, 'it is still blocked')

    receiver.kill()
    tool.wait()
    lab.equal(reader.wait(30), 0, 'the owner\'s end unblocks it')
    lab.wait_until(lambda: lab.driver(pci) == 'virtio-pci', 'the card comes back to its driver',
                   90)
    lab.wait_until(lambda: client.state(pci) == 'host', 'and is the host\'s')


main()

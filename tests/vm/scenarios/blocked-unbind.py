# SPDX-License-Identifier: LGPL-2.1-or-later
"""A foreign tool's unbind that a holding VMM blocks costs one device and nothing else."""

import json
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


def check_snapshot(blocked):
    """A snapshot is whole but for what waits for the blocked card's driver."""
    begun = time.monotonic()
    done = client.ctl('snapshot', '/run/lab-snapshot.json', seconds=150)
    lab.require(done.returncode == 0, f'a snapshot is taken {done.stderr}')
    lab.note(f'the snapshot took {time.monotonic() - begun:.1f} s')
    with open('/run/lab-snapshot.json', encoding='utf-8') as file:
        devices = {device['address']: device for device in json.load(file)['devices']}
    lab.equal(len(devices), len(os.listdir(lab.PCI)), 'it has every function')
    unread = [address for address, device in devices.items()
              if device['attributes'].get('driver_override') == {'error': 'ETIMEDOUT'}]
    lab.equal(unread, [blocked], 'and only the blocked card is marked as not read')
    lab.equal(devices[blocked]['attributes']['vendor'], '0x1af4', 'though not in what waits for none')


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
    check_snapshot(pci)
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

# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host that goes down without a warning keeps what must outlive it: who has reserved a card, which
one nobody may have, and which one nobody cleaned since its owner had it."""

import os
import subprocess

import client
import lab

KERNELS = ['6.1']
SECONDS = 300
BOOTS = 2
UNITS = ['pciassign-worker.socket', 'pciassignd.service']


def cleaning(pci):
    """Whether the card is clean, dirty or quarantined, and since whom."""
    return client.ctl_json('show', pci)['facts']['cleaning']


def before(reserved, quarantined, dirty):
    """Three cards on their three ways."""
    lab.run('systemctl', 'enable', *UNITS)
    os.sync()  # what follows is the service's to sync
    done = client.ctl('assign', '--owner=vm-kept', '--lifetime=persistent', '--label=rack=7', reserved)
    lab.require(done.returncode == 0, 'a card is assigned persistently', done.stderr)
    done = client.ctl('quarantine', '--reason=smells of smoke', quarantined)
    lab.require(done.returncode == 0, 'another one is quarantined', done.stderr)
    subprocess.Popen(['pciassignctl', 'run', dirty, '--owner=vm-gone', '--', 'tail', '-f',
                      '/dev/null'], stdin=subprocess.DEVNULL, start_new_session=True)
    lab.wait_until(lambda: client.listed(dirty)['owner'] == 'vm-gone' and
                   client.state(dirty) == 'assigned', 'a third one has a monitor', 60)
    lab.wait_until(lambda: lab.driver(dirty) == 'vfio-pci', 'that runs with it')
    lab.changes_expected(reserved, quarantined, dirty)


def after(reserved, quarantined, dirty):
    """What the next boot knows of them."""
    client.wait_settled()
    lab.wait_until(lambda: client.listed(reserved)['owner'] == 'vm-kept',
                   'after the reboot the reservation is there again', 60)
    lab.wait_until(lambda: lab.driver(reserved) == 'vfio-pci', 'and prepared', 60)
    kept = client.ctl_json('list', '--assignments')
    lab.check([(a['owner'], a['labels']) for a in kept if reserved in a['devices']]
              == [('vm-kept', {'rack': '7'})], 'with owner and labels', kept)
    other = client.ctl('assign', '--owner=vm-other', reserved)
    lab.equal(other.returncode, 5, 'nobody else gets it')
    lab.equal(client.state(quarantined), 'quarantined', 'the quarantine holds')
    refused = client.ctl('assign', '--owner=vm-other', quarantined)
    lab.equal(refused.returncode, 4, 'and refuses')
    lab.equal(cleaning(quarantined)['quarantine'], 'smells of smoke', 'for the reason that was given')
    found = cleaning(dirty)
    lab.equal((found['state'], found['last-owner']), ('dirty', 'vm-gone'),
              'the third one is known not to be clean since its owner')
    lab.equal(client.ctl('release', reserved).returncode, 0, 'the reservation can be given up')
    lab.equal(client.ctl('unquarantine', quarantined).returncode, 0, 'the quarantine ended')
    lab.changes_expected(reserved, quarantined, dirty)


cards = [lab.address(name) for name in ('nic1', 'nic2', 'nic3')]
client.wait_settled()
if lab.BOOT == 0:
    before(*cards)
else:
    after(*cards)

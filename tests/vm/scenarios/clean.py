# SPDX-License-Identifier: LGPL-2.1-or-later
"""Between two owners on a real kernel: reset, comparison and hooks of a release, and what a hook that fails leaves."""

import json
import pathlib

import client
import lab

HOOKS = pathlib.Path('/etc/pciassignd/hooks.d')
RULES = pathlib.Path('/etc/pciassignd/policy.d/90-clean.json')
SECONDS = 300


def cleaning(pci):
    """What is known of the device between owners."""
    return client.ctl_json('show', '--topic=cleaning', pci)['facts']['cleaning']


def hook(name, text):
    """A program of the administrator's."""
    HOOKS.mkdir(parents=True, exist_ok=True)
    (HOOKS / name).write_text(text)
    (HOOKS / name).chmod(0o755)


def give_and_take(pci):
    """One owner."""
    lab.equal(client.ctl('assign', '--owner=vm-1', pci).returncode, 0, f'{pci} is assigned')
    lab.equal(lab.driver(pci), 'vfio-pci', 'VFIO has it')
    lab.equal(client.ctl('release', pci).returncode, 0, 'it is released')


def goes_home_clean(name, driver):
    """The whole of a cleaning, and the device as before."""
    pci = lab.address(name)
    lab.changes_expected(pci)
    give_and_take(pci)
    found = cleaning(pci)
    lab.note(json.dumps(found['cycles'][-1]))
    lab.equal((found['state'], found['cycles'][-1]['outcome']), ('clean', 'verified'),
              f'{name} is verified clean')
    lab.equal(lab.driver(pci), driver, 'and back with its driver')
    return pci


def main():
    """Clean, refused by a hook, quarantined, and back."""
    client.wait_settled()
    nic = goes_home_clean('nic1', 'virtio-pci')
    lab.wait_until(lambda: lab.interfaces(nic), 'its interface is there again')
    nvme = goes_home_clean('nvme', 'nvme')
    RULES.parent.mkdir(parents=True, exist_ok=True)
    RULES.write_text(json.dumps({'version': 1, 'rules': [
        {'name': 'nvme', 'match': {'class': '0108'}, 'clean': {'hooks': ['look']}}]}))
    lab.run('systemctl', 'reload', 'pciassignd.service')
    hook('look', '#!/bin/sh\nid -un\nread -r line\ncase $line in *before-assign*) exit 0;; esac\n'
         'exit 1\n')
    give_and_take(nvme)
    found = cleaning(nvme)
    lab.equal(found['state'], 'quarantined', 'a hook that fails quarantines')
    lab.check('pciassignd-hook' in found['quarantine'] or 'nobody' in found['quarantine'],
              'the hook had a user of its own', found['quarantine'])
    lab.equal(lab.driver(nvme), 'vfio-pci', 'it stays with VFIO')
    lab.equal(client.ctl('assign', '--owner=vm-2', nvme).returncode, 4, 'nobody gets it')
    hook('look', '#!/bin/sh\nexit 0\n')
    lab.equal(client.ctl('unquarantine', nvme).returncode, 0, 'a verified cleaning ends it')
    lab.equal(lab.driver(nvme), 'nvme', 'and brings it home')
    RULES.unlink()
    lab.run('systemctl', 'reload', 'pciassignd.service')


main()

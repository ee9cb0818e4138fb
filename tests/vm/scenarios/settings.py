# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a rule sets of a device while it is assigned, on the real kernel's files, and the way back."""

import json
import pathlib

import client
import lab

KERNELS = ['6.1', '6.12']

RULES = pathlib.Path('/etc/pciassignd/policy.d/50-settings.json')


def rule(**settings):
    """One rule for everything, in force."""
    RULES.parent.mkdir(parents=True, exist_ok=True)
    RULES.write_text(json.dumps({'version': 1, 'rules': [
        {'name': 'settings', 'match': {}, 'assign': 'allow', **settings}]}), encoding='ascii')
    lab.run('busctl', 'call', 'org.pciassign1', '/org/pciassign1', 'org.pciassign1.Manager',
            'ReloadPolicy', 'a{sv}', '0')


def shown(pci):
    """What the kernel says of the settings."""
    return {'d3cold': (lab.PCI / pci / 'd3cold_allowed').read_text().strip(),
            'domain': (lab.PCI / pci / 'iommu_group/type').read_text().strip()}


def main():
    """Set and taken back; refused by the hardware and undone."""
    client.wait_settled()
    pci = lab.address('nic1')
    before, driver = shown(pci), lab.driver(pci)
    lab.equal(before['d3cold'], '1', 'D3cold is allowed')
    other = 'DMA' if before['domain'] == 'identity' else 'identity'
    rule(d3cold='off', iommu={'domain': other.lower()})
    planned = client.ctl_json('plan', '--owner=vm-1', pci)
    types = [step['type'] for step in planned['plan']['steps']]
    lab.check(types.index('unbind') < types.index('set-domain-type') < types.index('probe'),
              'the plan sets between unbinding and binding', types)
    granted = client.ctl_json('assign', '--owner=vm-1', pci)
    lab.equal(lab.driver(pci), 'vfio-pci', 'the card is on vfio-pci')
    lab.equal(shown(pci), {'d3cold': '0', 'domain': other}, 'and set as the rule says')
    RULES.unlink()
    lab.equal(client.ctl('release', granted['assignment']).returncode, 0, 'it is released')
    lab.equal((shown(pci), lab.driver(pci)), (before, driver), 'everything is as it was')
    # Emulated cards have no No Snoop bit: it reads 0 whatever is written.
    rule(d3cold='off', **{'no-snoop': 'on'})
    refused = client.ctl('assign', '--owner=vm-1', pci)
    lab.check(refused.returncode == 1 and 'No Snoop' in refused.stderr,
              'what the hardware cannot is refused', refused.stderr)
    lab.equal((shown(pci), lab.driver(pci)), (before, driver), 'and what was set before is undone')
    RULES.unlink()
    lab.run('busctl', 'call', 'org.pciassign1', '/org/pciassign1', 'org.pciassign1.Manager',
            'ReloadPolicy', 'a{sv}', '0')


main()

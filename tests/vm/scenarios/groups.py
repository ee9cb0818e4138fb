# SPDX-License-Identifier: LGPL-2.1-or-later
"""A group has one owner: its devices are refused singly and granted together."""

import json

import client
import lab

KERNELS = ['6.1']


def check_group(text, first, second):
    """FIRST alone is refused, with SECOND named; both together are granted."""
    pcis = [lab.address(first), lab.address(second)]
    lab.check(lab.group(pcis[0]) == lab.group(pcis[1]), f'{text}: they share a group')
    for alone, mate in (pcis, pcis[::-1]):
        done = client.ctl('assign', '--owner=vm-a', '--json', alone)
        lab.equal(done.returncode, 4, f'{text}: {alone} alone is refused')
        lab.check(mate in done.stdout + done.stderr, f'{text}: the refusal names {mate}',
                  done.stdout + done.stderr)
        lab.equal({lab.driver(pci) for pci in pcis}, {'virtio-pci'}, f'{text}: nothing changed')
    granted = client.ctl_json('assign', '--owner=vm-a', *pcis)
    lab.equal(sorted(granted['devices']), sorted(pcis), f'{text}: together they are granted')
    lab.equal({lab.driver(pci) for pci in pcis}, {'vfio-pci'}, f'{text}: both are on vfio-pci')
    other = client.ctl('assign', '--owner=vm-b', *pcis)
    lab.equal(other.returncode, 5, f'{text}: a second owner gets neither')
    released = client.ctl('release', granted['assignment'])
    lab.equal(released.returncode, 0, f'{text}: they are released ' + released.stderr)
    lab.equal({lab.driver(pci) for pci in pcis}, {'virtio-pci'}, f'{text}: both are back')


client.wait_settled()
check_group('two functions of one card', 'dual0', 'dual1')
# The bridge's hot-plug driver claims its DMA, and with it the group's: nothing can be had.
bridge, cards = lab.address('conventional'), [lab.address('conv0'), lab.address('conv1')]
lab.equal(lab.driver(bridge), 'shpchp', 'the conventional bridge is on its hot-plug driver')
lab.changes_expected(bridge)
kept = client.ctl('assign', '--owner=vm-a', *cards)
lab.equal(kept.returncode, 4, 'below such a bridge nothing is granted ' + kept.stderr.strip()[:200])
lab.equal({lab.driver(pci) for pci in cards}, {'virtio-pci'}, 'nothing changed')
lab.write('/sys/bus/pci/drivers/shpchp/unbind', bridge)
check_group('two cards behind a conventional bridge', 'conv0', 'conv1')
shown = json.dumps(client.ctl_json('groups'))
lab.check(lab.address('conventional') in shown, 'groups shows the bridge among its members', shown)

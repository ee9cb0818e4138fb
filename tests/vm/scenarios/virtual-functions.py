# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual functions of an NVMe controller go to different owners, one by one."""

import os

import client
import lab

KERNELS = ['6.1', '6.12']


def main():
    """Make four, give three, take them back."""
    client.wait_settled()
    physical = lab.address('nvme')
    lab.changes_expected(physical)
    # Emulated virtual functions start no host driver: one that tried would give up at any moment.
    lab.equal(client.ctl('vfs', physical, '2').returncode, 0, 'two virtual functions are made')
    lab.equal((lab.PCI / physical / 'sriov_numvfs').read_text().strip(), '2', 'the kernel has two')
    lab.equal(client.ctl('vfs', physical, '4').returncode, 0, 'two become four, through none')
    lab.equal((lab.PCI / physical / 'sriov_numvfs').read_text().strip(), '4', 'the kernel has four')
    lab.equal((lab.PCI / physical / 'sriov_drivers_autoprobe').read_text().strip(), '1',
              'who may take new ones is as before')
    lab.equal(client.ctl('vfs', physical, '5').returncode, 2, 'more than it can have is refused')
    functions = [os.path.basename(os.readlink(lab.PCI / physical / f'virtfn{n}'))
                 for n in range(4)]
    before = {vf: lab.driver(vf) for vf in functions}
    lab.equal(set(before.values()), {None}, 'no host driver took one')
    listed = {line['address'] for line in client.ctl_json('list')}
    lab.check(set(functions) <= listed, 'new functions are listed without being asked for',
              set(functions) - listed)
    assignments = []
    for number, vf in enumerate(functions[:3]):
        granted = client.ctl_json('assign', f'--owner=vm-{number}', vf)
        assignments.append(granted['assignment'])
        lab.equal(lab.driver(vf), 'vfio-pci', f'virtual function {number} goes to vm-{number}')
    lab.equal([client.listed(vf)['owner'] for vf in functions],
              ['vm-0', 'vm-1', 'vm-2', None], 'each has its own owner, the last has none')
    lab.equal(client.ctl('assign', '--owner=vm-3', functions[0]).returncode, 5,
              'none is given twice')
    whole = client.ctl('assign', '--owner=vm-3', physical)
    lab.equal(whole.returncode, 5, 'the physical function is refused while they are given away')
    lab.check('virtual function' in whole.stderr, 'and the refusal says so', whole.stderr)
    shrink = client.ctl('vfs', physical, '1')
    lab.equal(shrink.returncode, 5, 'their number is not changed under their owners')
    lab.check('vm-0' in shrink.stderr and 'vm-2' in shrink.stderr, 'who are named', shrink.stderr)
    lab.equal(client.ctl('reset', physical).returncode, 5, 'nor is the physical function reset')
    for name in assignments:
        lab.equal(client.ctl('release', name).returncode, 0, 'it is released')
    lab.equal({vf: lab.driver(vf) for vf in functions}, before, 'each is as it was')
    receiver = client.Receiver('--release', functions[3])
    receiver.require('ready', 'an unprivileged process uses the fourth')
    receiver.finish()
    lab.equal(client.ctl('vfs', physical, '0').returncode, 0, 'all of them go')
    with lab.Uevents() as events:
        lab.check(events.until(lambda: not set(functions) & {
            line['address'] for line in client.ctl_json('list')}), 'removed ones leave the list')


main()

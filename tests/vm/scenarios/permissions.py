# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may: anybody looks, nobody acts unless polkit or the group says so, owners stay apart."""

import pathlib

import client
import lab

RULES = pathlib.Path('/etc/polkit-1/rules.d/50-lab.rules')
RULE = '''polkit.addRule(function(action, subject) {
        if (action.id == "org.pciassign1.assign" && subject.user == "alice")
                return polkit.Result.YES;
});
'''

POLICY = pathlib.Path('/etc/pciassignd/policy.d/50-lab.json')
GRANT = '{ "version": 1, "defaults": { "owners": ["*", { "owner": "alice*", "users": ["alice"] }] } }'


def refused(done, code, text):
    """A command of an unprivileged user fails with CODE."""
    lab.equal(done.returncode, code, f'{text} ({(done.stderr or done.stdout).strip()[:120]})')


def main():
    """Nobody, the group, polkit's rule; then one owner against another."""
    client.wait_settled()
    pci, other = lab.address('nic1'), lab.address('nic2')
    lab.equal(client.ctl('list', user='bob').returncode, 0, 'anybody may list')
    lab.equal(client.ctl('show', pci, user='bob').returncode, 0, 'and look at its facts')
    refused(client.ctl('assign', pci, user='bob'), 6, 'nobody may assign without permission')
    refused(client.ctl('snapshot', user='bob'), 6, 'nor take a snapshot')
    lab.equal(lab.driver(pci), 'virtio-pci', 'nothing happened')

    RULES.write_text(RULE, encoding='ascii')
    lab.run('systemctl', 'restart', 'polkit.service')
    refused(client.ctl('assign', pci, user='alice'), 4, 'who may assign may name no owner')
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    POLICY.write_text('{ "version": 1, "defaults": { "owner": 1 } }', encoding='ascii')
    refused(client.ctl('policy', 'reload'), 2, 'a bad policy is not loaded')
    POLICY.write_text(GRANT, encoding='ascii')
    refused(client.ctl('policy', 'reload', user='bob'), 6, 'nor a good one by anybody')
    lab.run('systemctl', 'reload', 'pciassignd.service')
    lab.equal(client.ctl('policy', 'check').returncode, 0, 'the policy of this host is good')
    lab.wait_until(lambda: 'alice*' in client.ctl('policy', 'show').stdout, 'the policy is in force')
    refused(client.ctl('assign', '--owner=bob', pci, user='alice'), 4, 'a rule grants its owners only')
    granted = client.ctl_json('assign', '--lifetime=persistent', pci, user='alice')
    lab.equal(lab.driver(pci), 'vfio-pci', 'polkit\'s rule lets its user assign')
    refused(client.ctl('assign', other, user='bob'), 6, 'but nobody else')
    refused(client.ctl('release', granted['assignment'], user='bob'), 6,
            'another user may not release it')
    refused(client.ctl('assign', pci, user=None), 5, 'a second owner is refused, even root')
    refused(client.ctl('assign', pci, user='bob', groups=client.OPERATORS), 5,
            'and an operator of the group')
    stolen = client.Receiver(f'--assignment={object_path(granted)}', pci, user='bob', groups=())
    error = stolen.until('opened')
    lab.equal(error.get('name'), 'org.pciassign1.Error.NotAuthorized',
              'another user may not have its descriptors')
    lab.equal(client.ctl('release', granted['assignment'], user='alice').returncode, 0,
              'its creator releases it')
    lab.equal(lab.driver(pci), 'virtio-pci', 'and it is back')

    RULES.unlink()
    POLICY.unlink()
    lab.equal(client.ctl('policy', 'reload').returncode, 0, 'what is built in again')
    lab.run('systemctl', 'stop', 'polkit.service')
    lab.run('systemctl', 'mask', '--runtime', 'polkit.service')
    refused(client.ctl('assign', pci, user='alice'), 6, 'without polkit nobody is let through')
    granted = client.ctl_json('assign', '--lifetime=persistent', pci, user='bob',
                              groups=client.OPERATORS)
    lab.equal(client.ctl('release', granted['assignment']).returncode, 0,
              'but the group, and root, are')
    lab.run('systemctl', 'unmask', '--runtime', 'polkit.service')


def object_path(granted):
    """The object path of an assignment that the command line made."""
    name = granted['assignment']
    return name if name.startswith('/') else f'{client.ROOT}/assignment/{name}'


main()

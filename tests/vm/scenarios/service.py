# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service as the system sees it: its user, its powers, its start on demand, its end."""

import pathlib

import client
import lab

KERNELS = ['6.1']


def status(pid, key):
    """One line of the process's status."""
    for line in pathlib.Path(f'/proc/{pid}/status').read_text(encoding='ascii').splitlines():
        if line.startswith(f'{key}:'):
            return line.split(':', 1)[1].split()
    return []


def check_process():
    """Its own user, no capability left, nobody else's files."""
    pid = client.service_pid()
    user = int(lab.run('id', '-u', 'pciassignd').stdout)
    lab.equal(set(status(pid, 'Uid')), {str(user)}, 'the daemon runs as its own user')
    for name in ('CapEff', 'CapPrm', 'CapAmb'):
        lab.equal(int(status(pid, name)[0], 16), 0, f'it keeps no capability ({name})')
    lab.equal(status(pid, 'NoNewPrivs'), ['1'], 'and can gain none')
    descriptors = [str(link.readlink()) for link in pathlib.Path(f'/proc/{pid}/fd').iterdir()]
    lab.check(not [d for d in descriptors if 'vfio' in d or 'iommu' in d],
              'it holds no descriptor of a device', descriptors)


def check_stop():
    """Stopping releases nothing; the next call starts it again."""
    pci = lab.address('nic1')
    granted = client.ctl_json('assign', '--owner=vm-a', '--lifetime=persistent', pci)
    check_process()
    lab.run('systemctl', 'stop', 'pciassignd.service')
    lab.equal(lab.driver(pci), 'vfio-pci', 'stopping it releases nothing')
    line = client.listed(pci)
    lab.check(client.service_active(), 'a call on the bus starts it')
    lab.equal((line['state'], line['owner']), ('assigned', 'vm-a'), 'it knows what it had given')
    lab.equal(client.ctl('release', granted['assignment']).returncode, 0, 'and takes it back')
    lab.equal(lab.driver(pci), 'virtio-pci', 'whole')


def check_unhealthy():
    """A daemon that hangs is noticed."""
    watchdog = lab.run('systemctl', 'show', '-P', 'WatchdogUSec', 'pciassignd.service').stdout
    lab.check(watchdog.strip() not in ('', '0', 'infinity'), 'the watchdog is on', watchdog)
    failed = lab.run('systemctl', '--failed', '--no-legend', '--plain').stdout
    lab.equal(failed, '', 'no unit failed')


def check_reload():
    """A member of the group that the settings come to name is asked nothing."""
    pci = lab.address('nic1')
    member = {'user': 'bob', 'groups': ('dialout',)}
    lab.equal(client.ctl('assign', '--owner=vm-b', pci, **member).returncode, 6, 'bob may not')
    directory = pathlib.Path('/etc/pciassignd/pciassignd.conf.d')
    directory.mkdir(parents=True, exist_ok=True)
    (directory / '90-lab.conf').write_text('[Daemon]\nAdminGroup=dialout\n', encoding='ascii')
    pid = client.service_pid()
    lab.run('systemctl', 'reload', 'pciassignd.service')
    granted = client.ctl('assign', '--owner=vm-b', '--json', pci, **member)
    lab.equal(granted.returncode, 0, 'after a reload he may ' + granted.stderr)
    lab.equal(client.ctl('release', pci, **member).returncode, 0, 'and gives it back')
    (directory / '90-lab.conf').unlink()
    lab.run('systemctl', 'reload', 'pciassignd.service')
    lab.equal(client.ctl('assign', '--owner=vm-b', pci, **member).returncode, 6, 'and then not')
    lab.check(client.service_active() and client.service_pid() == pid, 'it is the same process')


def check_settled():
    """Units that need every function to be known have a target to wait for."""
    lab.equal(lab.run('systemctl', 'start', 'pciassignd-settled.target', check_status=False).returncode,
              0, 'the settled target is reached')
    lab.equal(lab.run('pciassignctl', 'settle', check_status=False).returncode, 0,
              'settle returns')


client.wait_settled()
check_settled()
check_process()
check_stop()
check_reload()
check_unhealthy()

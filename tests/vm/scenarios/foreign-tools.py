# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other tools change what the service has given away: driverctl, a hand at sysfs, an override alone.
Each is seen, told as drift, and never overwritten silently."""

import client
import lab

KERNELS = ['6.1']
SECONDS = 300


def drift(signals, pci, what, found, text):
    """The signal names the device, what changed, and what stands there now."""
    def matches(_path, _interface, member, body):
        return (member == 'Drift' and body[0] == client.device_path(pci)
                and (body[1]['what'], body[1]['found']) == (what, found))
    lab.check(signals.until(matches), f'{text} is told as drift', signals.seen[-4:])


def rebound(bus, pci, text, change, found):
    """Another driver on an assigned card."""
    lab.equal(client.ctl('assign', '--owner=vm-a', '--lifetime=persistent', pci).returncode, 0,
              f'{text}: the card is assigned')
    signals = bus.signals(client.ROOT)
    change()
    drift(signals, pci, 'driver', found, text)
    lab.equal(lab.driver(pci) or '', found, f'{text}: nobody changes it back')
    opened = client.ctl('open', pci, '--', 'true', '{group}')
    lab.check(opened.returncode != 0, f'{text}: the owner gets nothing of what is not there',
              opened.stderr)
    released = client.ctl('release', pci)
    lab.equal(released.returncode, 0, f'{text}: it can be given back ' + released.stderr)
    lab.equal(client.state(pci), 'host' if lab.driver(pci) else 'available',
              f'{text}: and is nobody\'s')


def undone(bus, pci):
    """What the administrator may say to drift: so be it, or back."""
    for verb in ('restore', 'adopt'):
        lab.equal(client.ctl('assign', '--owner=vm-a', '--lifetime=persistent', pci).returncode, 0,
                  f'{verb}: the card is assigned')
        signals = bus.signals(client.ROOT)
        lab.bind(pci, 'virtio-pci')
        drift(signals, pci, 'driver', 'virtio-pci', f'{verb}: a rebind')
        done = client.ctl(verb, pci)
        lab.equal(done.returncode, 0, f'{verb}: it is done ' + done.stderr)
        if verb == 'restore':
            lab.equal((client.state(pci), lab.driver(pci)), ('assigned', 'vfio-pci'),
                      'restore: the card is its owner\'s again')
            lab.equal(client.ctl('open', pci, '--', 'true', '{group}').returncode, 0,
                      'restore: who can open it')
            lab.equal(client.ctl('release', pci).returncode, 0, 'restore: and give it back')
        else:
            lab.wait_until(lambda: client.state(pci) == 'host', 'adopt: the card is the host\'s')
        lab.bind(pci, '')


def main():
    """One card, three hands."""
    client.wait_settled()
    bus, pci = client.Bus(), lab.address('nic1')
    rebound(bus, pci, 'a rebind by hand', lambda: lab.bind(pci, 'virtio-pci'), 'virtio-pci')
    lab.bind(pci, '')
    rebound(bus, pci, 'driverctl',
            lambda: lab.run('driverctl', '--nosave', 'set-override', pci, 'virtio-pci'), 'virtio-pci')
    lab.bind(pci, '')
    lab.equal(client.ctl('assign', '--owner=vm-a', '--lifetime=persistent', pci).returncode, 0,
              'an override alone: the card is assigned')
    lab.write(lab.PCI / pci / 'driver_override', 'pci-stub')
    signals = bus.signals(client.ROOT)
    lab.equal(client.ctl('release', pci).returncode, 0, 'an override alone: it is released')
    drift(signals, pci, 'driver_override', 'pci-stub', 'an override alone')
    lab.equal(lab.override(pci), 'pci-stub', 'an override alone: it stays')
    lab.bind(pci, '')
    undone(bus, pci)
    bus.close()


main()

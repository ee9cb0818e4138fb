# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an assignment and its release cost against the kernel's own work and against driverctl."""

import statistics
import time

import client
import lab

SECONDS = 240
ROUNDS = 9
PCI_DRIVERS = '/sys/bus/pci/drivers'


def timed(function):
    """Seconds that a call takes."""
    begin = time.monotonic()
    function()
    return time.monotonic() - begin


def by_kernel(pci):
    """The writes that change the driver and change it back, and nothing else."""
    device = f'/sys/bus/pci/devices/{pci}'
    with open('/sys/bus/pci/drivers_probe', 'w', encoding='ascii') as probe:
        for former, override in (('virtio-pci', 'vfio-pci'), ('vfio-pci', '\n')):
            with open(f'{PCI_DRIVERS}/{former}/unbind', 'w', encoding='ascii') as unbind:
                unbind.write(pci)
            with open(f'{device}/driver_override', 'w', encoding='ascii') as attribute:
                attribute.write(override)
            probe.write(pci)
            probe.flush()


def by_driverctl(pci):
    """The tool that operators use today."""
    lab.run('driverctl', '--nosave', 'set-override', pci, 'vfio-pci')
    lab.run('driverctl', '--nosave', 'unset-override', pci)


def by_service(bus, pci):
    """As an orchestrator does: two calls on a connection that is there."""
    assignment, _job = bus.manager('Assign', '(assa{sv})', [pci], 'speed', {})
    bus.call(assignment, f'{client.SERVICE}.Assignment', 'Release', '(a{sv})', {})


def by_client(pci):
    """As an operator does: two commands."""
    lab.run('pciassignctl', 'assign', pci, '--owner', 'speed')
    lab.run('pciassignctl', 'release', pci)


def measure(pci):
    """Medians in seconds, all ways by turns."""
    bus = client.Bus()
    ways = {'kernel': lambda: by_kernel(pci), 'service': lambda: by_service(bus, pci),
            'client': lambda: by_client(pci), 'driverctl': lambda: by_driverctl(pci)}
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(timed(way))
            lab.require(lab.driver(pci) == 'virtio-pci', f'{name}: the card is back')
    bus.close()
    return {name: statistics.median(values) for name, values in times.items()}


client.wait_settled()
medians = measure(lab.address('nic1'))
for name, seconds in medians.items():
    lab.note(f'{name}: {seconds * 1000:.1f} ms, {seconds / medians["kernel"]:.2f} of the kernel')
lab.check(medians['service'] < medians['driverctl'], 'assign and release beat driverctl')
lab.check(medians['client'] < medians['driverctl'], 'the client beats driverctl')

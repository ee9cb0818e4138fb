# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an assignment and its release cost against the kernel's own work and against driverctl.

The floor is the same work of the kernel, done by a program that does nothing else; what two calls
over the bus take, as two that do nothing show, is no part of our share. All ways take turns on a
machine that has come to rest. A rule leaves out the reset of the release, which is the kernel's
time (100 ms and more for each function) and which driverctl does not do.
"""

import json
import pathlib
import statistics
import time

import client
import lab

SECONDS = 480
ROUNDS = 9
RULE = pathlib.Path('/etc/pciassignd/policy.d/90-speed.json')
METER = '/usr/lib/pciassignd-lab/speed-meter'
REST_SECONDS = 0.5
REST_BUSY = 0.1
# A busy machine below makes each round worse and none better: the lower quartile counts.
SHARE_MAX = 0.25


def busy_seconds():
    """Processor time that was not idle."""
    with open('/proc/stat', encoding='ascii') as stat:
        times = [int(t) for t in stat.readline().split()[1:9]]
    return (sum(times) - times[3] - times[4]) / 100


def rest():
    """Until udev has handled its events and the processors have next to nothing to do."""
    lab.run('udevadm', 'settle')
    deadline = time.monotonic() + lab.SECONDS
    while time.monotonic() < deadline:
        before = busy_seconds()
        time.sleep(REST_SECONDS)  # a window to measure over, not a wait for something
        if busy_seconds() - before < REST_BUSY * REST_SECONDS:
            return


def metered(*argv):
    """Seconds, as the meter says."""
    return int(lab.run(METER, *argv).stdout) / 1e6


def timed(*commands):
    """Seconds that commands take, one after the other."""
    begin = time.monotonic()
    for command in commands:
        lab.run(*command)
    return time.monotonic() - begin


def by_driverctl(pci):
    """The tool that operators use today."""
    return timed(('driverctl', '--nosave', 'set-override', pci, 'vfio-pci'),
                 ('driverctl', '--nosave', 'unset-override', pci))


def by_client(pci):
    """As an operator does: two commands."""
    return timed(('pciassignctl', 'assign', pci, '--owner', 'speed'),
                 ('pciassignctl', 'release', pci))


def measure(pci):
    """Seconds of each round, all ways by turns."""
    ways = {'writes': lambda: metered('writes', pci), 'floor': lambda: metered('floor', pci),
            'service': lambda: metered('service', pci), 'calls': lambda: metered('calls'),
            'client': lambda: by_client(pci), 'driverctl': lambda: by_driverctl(pci)}
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            rest()
            times[name].append(way())
            if lab.driver(pci) != 'virtio-pci':
                lab.require(False, f'{name}: the card is back')
    return times


client.wait_settled()
card = lab.address('nic1')
RULE.parent.mkdir(parents=True, exist_ok=True)
RULE.write_text(json.dumps({'version': 1, 'rules': [
    {'name': 'speed', 'match': {'address': card}, 'clean': {'reset': []}}]}))
lab.run('systemctl', 'reload', 'pciassignd.service')
lab.note('reset and comparison are left out by a rule: the kernel\'s time, and not driverctl\'s work')
rounds = measure(card)
RULE.unlink()
lab.run('systemctl', 'reload', 'pciassignd.service')
medians = {name: statistics.median(values) for name, values in rounds.items()}
for name, seconds in medians.items():
    lab.note(f'{name}: {seconds * 1000:.1f} ms, {seconds / medians["floor"]:.2f} of the floor, '
             f'{seconds / medians["writes"]:.2f} of the bare writes')
shares = sorted((ours - calls - floor) / floor for ours, calls, floor
                in zip(rounds['service'], rounds['calls'], rounds['floor']))
for name, values in rounds.items():
    lab.note(f'{name}, round by round: ' + ' '.join(f'{value * 1000:.0f}' for value in values))
lab.note('our share, round by round: ' + ' '.join(f'{share:.2f}' for share in shares))
quartile = statistics.quantiles(shares, n=4)[0]
lab.note(f'our share: {quartile:.3f} of the kernel\'s work, lower quartile; '
         f'median {statistics.median(shares):.3f}')
lab.check(quartile <= SHARE_MAX, f'our share is at most {SHARE_MAX:.0%} of the kernel\'s work',
          f'found {quartile:.1%}')
lab.check(medians['service'] < medians['driverctl'], 'assign and release beat driverctl')
lab.check(medians['client'] < medians['driverctl'], 'the client beats driverctl')

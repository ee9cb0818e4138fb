# SPDX-License-Identifier: LGPL-2.1-or-later
"""doctor says that this host can assign; a snapshot of it shows the same machine elsewhere."""

import json
import pathlib

import client
import lab

KERNELS = ['6.1']
STABLE = ('address', 'vendor', 'device', 'class', 'driver', 'iommu_group', 'numa_node')


def check_snapshot():
    """The snapshot, simulated, lists what the host lists."""
    here = client.ctl_json('list')
    done = client.ctl('snapshot')
    lab.require(done.returncode == 0, 'a snapshot is taken', done.stderr)
    path = pathlib.Path('/run/lab-snapshot.json')
    path.write_text(done.stdout, encoding='utf-8')
    lab.check(isinstance(json.loads(done.stdout), dict), 'it is one JSON document')
    replayed = lab.run('pciassignctl', 'sim', 'run', path, '--', 'pciassignctl', 'list', '--json')
    there = json.loads(replayed.stdout)

    def facts(lines):
        return sorted([line[key] for key in STABLE] for line in lines)

    lab.equal(facts(there), facts(here), 'simulated elsewhere it shows the same machine')


client.wait_settled()
verdict = client.ctl('doctor')
lab.equal(verdict.returncode, 0, 'this host can assign devices ' + verdict.stderr)
check_snapshot()

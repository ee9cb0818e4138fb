# SPDX-License-Identifier: LGPL-2.1-or-later
"""The walk of the demonstration on real VFIO: a card of two functions, a receiver that maps DMA
with what `open` hands it, and QEMU around which `run` holds an assignment until it is killed."""

import os

import client
import lab
import walk

SECONDS = 300
QEMU = ['qemu-system-x86_64', '-M', 'q35', '-accel', 'tcg', '-m', '64', '-nodefaults', '-display',
        'none', '-S', '-qmp', 'stdio', '-device', 'vfio-pci,host={address}']


def cast():
    """The machine's own devices in the walk's parts."""
    card, mate, vmm_card = (lab.address(name) for name in ('dual0', 'dual1', 'nic1'))
    needed, root = lab.address('mgmt'), lab.address('root')
    return walk.Cast(
        shown=[root, needed, card, mate, vmm_card],
        shown_says=[card, 'virtio-pci', 'host-route', 'host-mount'],
        needed=needed, card=card, card_driver='virtio-pci', mate=mate, mate_driver='virtio-pci',
        opener=[client.RECEIVER, '--container={container}', '--device={vfio}', '{address}'],
        opener_says='"event":"mapped"',
        vmm_card=vmm_card, vmm_driver='virtio-pci', vmm=QEMU,
        vmm_text='qemu-system-x86_64 … -device \'vfio-pci,host={address}\'', vmm_says='QMP')


def main():
    """One walk, its output as notes."""
    client.wait_settled()
    lab.default_route(lab.interfaces(lab.address('mgmt'))[0])
    # A route tells nobody that it came; the list shows what was read last.
    lab.equal(client.ctl('show', '--refresh', lab.address('mgmt')).returncode, 0,
              'the route is seen')
    lab.note(f'Linux {os.uname().release}, systemd, the installed service, an IOMMU, real VFIO')
    show = walk.Show(lab.note)
    try:
        walk.walk(show, cast())
    except walk.Stop as stop:
        lab.require(False, f'step {show.steps}', stop)
    lab.check(True, f'{show.steps} steps, all as shown')


main()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machines that scenarios run in: a name, QEMU's arguments, the kernel's arguments.

Devices get their QEMU id as name; the harness tells the guest which PCI address each one has.
Isolated groups come from a root port of their own (it has ACS); shared ones from two functions
on one port, or from a bridge to conventional PCI.
"""

BASE = ['-nodefaults', '-no-reboot', '-display', 'none', '-accel', 'tcg,thread=multi',
        '-cpu', 'max', '-smp', '2', '-m', '1536',
        '-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off']
KERNEL_ARGS = 'console=ttyS0 panic=-1 quiet mitigations=off no_timer_check'
ENDPOINT = 'romfile=,aer=on,iommu_platform=on,disable-legacy=on'


class Machine:
    """Collects the arguments of one topology."""

    def __init__(self, machine='q35,kernel-irqchip=split', kernel_args=''):
        self.args = ['-M', machine]
        self.kernel_args = kernel_args
        self.disks = []
        self.ports = 0

    def device(self, spec):
        """One -device."""
        self.args += ['-device', spec]

    def port(self, name):
        """A PCIe root port at its own address on the root bus; its name is the bus's."""
        self.ports += 1
        self.device(f'pcie-root-port,id={name},bus=pcie.0,addr={0x10 + self.ports:#x},'
                    f'chassis={self.ports},slot={self.ports},io-reserve=0')
        return name

    def nic(self, name, place, extra=ENDPOINT):
        """A virtio network card; its network leads nowhere."""
        self.args += ['-netdev', f'user,id=net-{name},restrict=on,ipv6=off']
        self.device(f'virtio-net-pci,id={name},netdev=net-{name},{extra},{place}')

    def disk(self, name, megabytes):
        """The id of a drive over an empty file of its own; the harness makes the file."""
        self.disks.append((name, megabytes))
        return f'drive-{name}'

    def base_devices(self, extra=''):
        """What every machine has on its root bus: root disk, shared folder, the route's NIC."""
        self.device(f'virtio-blk-pci,id=root,drive=drive-root,serial=root,addr=3{extra}')
        self.device(f'virtio-9p-pci,fsdev=share,mount_tag=share,addr=4{extra}')
        self.nic('mgmt', f'bus=pcie.0,addr=5{extra}', 'romfile=')


def _cards(machine):
    """One of each kind of card that the scenarios ask for."""
    for number in (1, 2, 3):
        port = machine.port(f'port-nic{number}')
        machine.nic(f'nic{number}', f'bus={port}')
    port = machine.port('port-dual')
    machine.nic('dual0', f'bus={port},addr=0.0,multifunction=on')
    machine.nic('dual1', f'bus={port},addr=0.1')
    machine.device(f'pcie-pci-bridge,id=conventional,bus={machine.port("port-conventional")}')
    machine.nic('conv0', 'bus=conventional,addr=1', 'romfile=,disable-legacy=on,iommu_platform=on')
    machine.nic('conv1', 'bus=conventional,addr=2', 'romfile=,disable-legacy=on,iommu_platform=on')
    machine.device('nvme-subsys,id=subsystem,nqn=lab')
    machine.device(f'nvme,id=nvme,serial=lab0,subsys=subsystem,bus={machine.port("port-nvme")},'
                   'max_ioqpairs=16,msix_qsize=17,sriov_max_vfs=4,sriov_vq_flexible=8,'
                   'sriov_vi_flexible=4')
    machine.device(f'nvme-ns,drive={machine.disk("nvme", 64)},nsid=1,shared=on')
    for name in ('disk1', 'disk2'):
        port, drive = machine.port(f'port-{name}'), machine.disk(name, 64)
        machine.device(f'virtio-blk-pci,id={name},bus={port},drive={drive},serial={name},'
                       f'{ENDPOINT}')
    machine.device(f'edu,id=edu,bus={machine.port("port-edu")}')
    machine.port('port-empty')


def intel():
    """The main machine: Intel's IOMMU with interrupt remapping, one of each card."""
    machine = Machine(kernel_args='intel_iommu=on')
    machine.device('intel-iommu,intremap=on,device-iotlb=on,caching-mode=on')
    machine.base_devices()
    _cards(machine)
    return machine


def virtio_iommu():
    """The same cards behind a virtio IOMMU, whose driver is a module and arrives late."""
    machine = Machine('q35')
    machine.device('virtio-iommu-pci,addr=1e')
    machine.base_devices(',disable-legacy=on,iommu_platform=on')
    _cards(machine)
    return machine


def bare():
    """No IOMMU at all: nothing can be given away."""
    machine = Machine('q35')
    machine.base_devices()
    machine.nic('nic1', f'bus={machine.port("port-nic1")}')
    return machine


TOPOLOGIES = {'intel': intel, 'virtio-iommu': virtio_iommu, 'bare': bare}


def command(topology, image, kernel, workdir, share):
    """QEMU's argv for TOPOLOGY; sockets and disks are below WORKDIR, SHARE is the folder."""
    machine = TOPOLOGIES[topology]()
    argv = ['qemu-system-x86_64', *BASE,
            '-kernel', str(kernel['vmlinuz']), '-initrd', str(kernel['initrd']),
            '-append', f'{KERNEL_ARGS} {machine.kernel_args}'.strip(),
            '-serial', f'file:{workdir}/console', '-serial', f'unix:{workdir}/control',
            '-qmp', f'unix:{workdir}/qmp', '-fsdev',
            f'local,id=share,path={share},security_model=none',
            '-drive', f'if=none,id=drive-root,format=raw,snapshot=on,file={image}/root.ext4']
    for name, megabytes in machine.disks:
        path = workdir / f'{name}.raw'
        with open(path, 'wb') as disk:
            disk.truncate(megabytes << 20)
        argv += ['-drive', f'if=none,id=drive-{name},format=raw,cache=unsafe,file={path}']
    return argv + machine.args

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The worker's unit lets through what its work takes, and nothing of what it must not do.

A program of our own takes the worker's place under the installed unit, so that each permission is
proven by itself, on each kernel.
"""

import json
import os
import pathlib
import subprocess

import lab

KERNELS = ['6.1', '6.12']
SERVICE = 'installed'

PROBE = pathlib.Path('/run/sandbox-probe')
RESULT = pathlib.Path('/run/pciassign-worker/result')
UNIT = 'pciassign-worker@probe.service'
DROP_IN = pathlib.Path(f'/run/systemd/system/{UNIT}.d/probe.conf')

PROGRAM = '''#!/usr/bin/python3
import ctypes, json, os, signal, sys
a = json.load(open("/run/sandbox-arguments"))
results = {}
def attempt(name, function):
    try:
        results[name] = ["done", function()]
    except Exception as error:
        results[name] = ["failed", repr(error)]
def write(path, text):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
def bind(driver):
    device = "/sys/bus/pci/devices/" + a["pci"]
    if os.path.exists(device + "/driver"):
        write(device + "/driver/unbind", a["pci"])
    write(device + "/driver_override", driver + chr(10))
    write("/sys/bus/pci/drivers_probe", a["pci"])
    return os.path.basename(os.readlink(device + "/driver"))
def opened(path, flags):
    os.close(os.open(path, flags))
    return True
def owner():
    path = "/dev/vfio/%d" % a["group"]
    os.chown(path, 1001, -1)
    seen = os.stat(path).st_uid
    os.chown(path, 0, -1)
    return seen
def limit():
    import resource
    resource.prlimit(a["pid"], resource.RLIMIT_MEMLOCK, (1 << 30, 1 << 30))
    return resource.prlimit(a["pid"], resource.RLIMIT_MEMLOCK)[0]
def load_module():
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(a["module"], os.O_RDONLY)
    if libc.syscall(313, fd, b"", 0):
        raise OSError(ctypes.get_errno(), "finit_module")
def raw_socket():
    import socket
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)
attempt("bind", lambda: bind("vfio-pci"))
attempt("config", lambda: len(open("/sys/bus/pci/devices/" + a["pci"] + "/config", "rb").read()))
attempt("group node", lambda: opened("/dev/vfio/%d" % a["group"], os.O_RDWR))
attempt("container", lambda: opened("/dev/vfio/vfio", os.O_RDWR))
attempt("node owner", owner)
attempt("unbind", lambda: bind(""))
attempt("override", lambda: open("/sys/bus/pci/devices/" + a["pci"] +
        "/driver_override").read().strip())
attempt("domain", lambda: write("/sys/kernel/iommu_groups/%d/type" % a["edu"], "identity") or
        open("/sys/kernel/iommu_groups/%d/type" % a["edu"]).read().strip())
attempt("domain back", lambda: write("/sys/kernel/iommu_groups/%d/type" % a["edu"], "auto"))
attempt("free disk", lambda: opened(a["free disk"], os.O_RDONLY | os.O_EXCL))
attempt("used disk", lambda: opened(a["used disk"], os.O_RDONLY | os.O_EXCL))
attempt("mounts", lambda: " / " in open("/proc/1/mountinfo").read())
attempt("routes", lambda: a["interface"] in open("/proc/1/net/route").read())
attempt("interface", lambda: os.path.isdir("/sys/class/net/" + a["interface"]))
attempt("holders", lambda: len(os.listdir("/proc/%d/fd" % a["pid"])) and
        os.readlink("/proc/%d/fd/0" % a["pid"]))
attempt("limit", limit)
attempt("runtime", lambda: open("/run/pciassign-worker/probe", "w").close())
attempt("state", lambda: open("/var/lib/pciassignd/probe", "w").close())
attempt("kill", lambda: os.kill(a["pid"], signal.SIGTERM))
attempt("write to /etc", lambda: open("/etc/probe", "w"))
attempt("write to /usr", lambda: open("/usr/probe", "w"))
attempt("write to /sys/module", lambda: write(
        "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "1"))
attempt("write a sysctl", lambda: write("/proc/sys/kernel/panic", "1"))
attempt("write a disk", lambda: opened(a["free disk"], os.O_RDWR))
attempt("kernel memory", lambda: opened("/dev/mem", os.O_RDONLY))
attempt("homes", lambda: os.listdir("/home/alice"))
attempt("module", load_module)
attempt("network", raw_socket)
attempt("other user", lambda: os.setuid(1001))
json.dump(results, open("/run/pciassign-worker/result", "w"))
'''

MUST_WORK = ['bind', 'config', 'group node', 'container', 'node owner', 'unbind', 'override',
             'domain', 'domain back', 'free disk', 'mounts', 'routes', 'interface', 'holders',
             'limit', 'runtime', 'state', 'kill']
MUST_FAIL = ['used disk', 'write to /etc', 'write to /usr',
             'write to /sys/module', 'write a sysctl', 'write a disk', 'kernel memory',
             'homes', 'module', 'network', 'other user']


def disk_node(name):
    """The node of the machine's disk NAME."""
    found = sorted((lab.PCI / lab.address(name)).glob('virtio*/block/*'))
    return f'/dev/{found[0].name}'


def prepare(victim):
    """Tell the probe what to try, and put it in the worker's place."""
    interface = lab.interfaces(lab.address('mgmt'))[0]
    lab.run('ip', 'link', 'set', interface, 'up')
    lab.run('ip', 'addr', 'replace', '10.0.2.15/24', 'dev', interface)
    lab.run('systemctl', 'start', 'pciassignd-modules.service')
    pci, edu = lab.address('nic3'), lab.address('edu')
    modules = pathlib.Path('/lib/modules', os.uname().release)
    arguments = {'pci': pci, 'group': lab.group(pci), 'edu': lab.group(edu), 'pid': victim.pid,
                 'free disk': disk_node('disk2'), 'used disk': disk_node('root'),
                 'module': str(next(modules.rglob('dummy.ko*'))), 'interface': interface}
    pathlib.Path('/run/sandbox-arguments').write_text(json.dumps(arguments), encoding='ascii')
    PROBE.write_text(PROGRAM, encoding='ascii')
    PROBE.chmod(0o755)
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    # /run is mounted noexec in places: the interpreter is what is executed.
    DROP_IN.write_text(f'[Service]\nExecStart=\nExecStart=/usr/bin/python3 {PROBE}\nType=oneshot\n',
                       encoding='ascii')
    lab.run('systemctl', 'daemon-reload')


def main():
    """Run the probe and judge what it could do."""
    os.makedirs('/var/lib/pciassignd', exist_ok=True)
    victim = subprocess.Popen(lab.as_user('alice', 'sleep', 'infinity'), stdin=subprocess.DEVNULL)
    prepare(victim)
    lab.run('systemctl', 'start', UNIT)
    lab.require(RESULT.exists(), 'a program runs under the unit of the worker')
    results = json.loads(RESULT.read_text(encoding='ascii'))
    for name in MUST_WORK:
        lab.check(results[name][0] == 'done', f'the worker can: {name}', results[name])
    expected = {'bind': 'vfio-pci', 'node owner': 1001, 'unbind': 'virtio-pci', 'config': 4096,
                'mounts': True, 'routes': True, 'interface': True, 'limit': 1 << 30,
                'domain': 'identity', 'holders': '/dev/null', 'override': '(null)'}
    for name, value in expected.items():
        lab.equal(results[name][1], value, f'and it has the effect: {name}')
    for name in MUST_FAIL:
        lab.check(results[name][0] == 'failed', f'the worker cannot: {name}', results[name])
    lab.equal(victim.wait(30), -15, 'the declared process was ended')
    DROP_IN.unlink()
    lab.run('systemctl', 'daemon-reload')


main()

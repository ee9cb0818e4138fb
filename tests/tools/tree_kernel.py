# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plays the kernel behind a tree that make-tree laid out: what binds, unbinds, is created and goes when a file is
written, and the uevents that tell of it.

tree-kernel.so, preloaded into whatever writes, sends each write here and waits for the answer: so a write acts before
it returns, can fail, and a process that dies has written all or nothing. environment() has what to run it with.
"""

import errno
import fnmatch
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
MESSAGE_MAX = 8192
SETTINGS = ("reset_method", "sriov_drivers_autoprobe", "d3cold_allowed", "power/control")
ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def load_make_tree():
    loader = importlib.machinery.SourceFileLoader("make_tree", str(TOOLS / "make-tree"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_tree", loader))
    loader.exec_module(module)
    return module


make_tree = load_make_tree()


def part_of(host, addresses):
    """The host with these functions only, and the bridges above them."""
    wanted = set(addresses)
    for device in host["devices"]:
        if device["address"] in addresses:
            wanted |= set(ADDRESS.findall(device["path"]))
    kept = [d for d in host["devices"] if d["address"] in wanted]
    groups = {d["links"]["iommu_group"] for d in kept if "iommu_group" in d.get("links", {})}
    return {**host, "devices": kept, "slots": [],
            "groups": [g for g in host["groups"] if str(g["id"]) in groups]}


class TreeKernel:
    """A tree at `root` for `host`, and the thread that reacts. `addresses` of virtual functions come by sriov_numvfs."""

    def __init__(self, host, root, vfs=0):
        self.root, self.sys = Path(root), Path(root) / "sys"
        self.host, self.initial_vfs = host, vfs
        self.devices = {d["address"]: d for d in host["devices"]}
        self.vfs = sorted(a for a, d in self.devices.items() if "physfn" in d.get("links", {}))
        self.physfn = {a: self.devices[a]["links"]["physfn"] for a in self.vfs}
        self.paths = {a: d["path"] for a, d in self.devices.items()}
        self.lock = threading.Lock()
        self.files, self.sequence, self.thread = {}, 0, None
        self.make()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.socket.bind(str(self.root / "kernel"))
        (self.root / "kernel").chmod(0o666)
        self.socket.listen(64)

    # ---- making ----

    def make(self):
        plain = {**self.host, "devices": [d for d in self.host["devices"] if d["address"] not in self.vfs]}
        make_tree.make_tree(plain, self.root)
        (self.root / "proc/self").mkdir(parents=True, exist_ok=True)
        (self.root / "proc/self/mountinfo").touch()
        (self.root / "dev/vfio").mkdir(parents=True, exist_ok=True)
        self.watch(self.sys / "bus/pci/drivers_probe", self.on_probe)
        names = set(self.host["drivers"]) | {d["links"]["driver"] for d in self.devices.values()
                                            if "driver" in d.get("links", {})}
        for name in names:
            directory = self.sys / "bus/pci/drivers" / name
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "bind").touch()
            self.watch(directory / "unbind", self.on_unbind)
        for address in self.devices:
            if address not in self.vfs:
                self.adopt_device(address)
        for pf in set(self.physfn.values()):
            self.set_vfs(pf, self.initial_vfs)
        self.before = self.state()

    def directory(self, address):
        return self.sys / "devices" / self.paths[address]

    def adopt_device(self, address):
        directory = self.directory(address)
        if (directory / "reset_method").exists():
            self.watch(directory / "reset", self.on_reset)
        self.watch(directory / "driver_override", self.on_override, "(null)\n")
        if (directory / "sriov_numvfs").exists():
            self.watch(directory / "sriov_numvfs", self.on_numvfs)
        if (directory / "reset_method").exists():
            self.watch(directory / "reset_method", self.on_reset_method)
        for name in set(SETTINGS) - {"reset_method"}:
            if (directory / name).exists():
                self.watch(directory / name, self.on_plain)
        group = self.devices[address].get("links", {}).get("iommu_group")
        if group is not None:
            self.watch(self.sys / "kernel/iommu_groups" / group / "type", self.on_plain)

    def watch(self, path, react, initial=None):
        if not path.exists():
            path.write_text(initial or "")
        self.files[path] = react

    # ---- the thread ----

    def start(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        if self.thread:
            self.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()
        self.socket.close()

    def environment(self, build):
        """For a daemon of this build. A sanitizer's library, if it is linked, has to come before ours."""
        linked = subprocess.run(["ldd", Path(build) / "pciassignd"], capture_output=True, text=True, check=True).stdout
        preloaded = [*re.findall(r"(/\S*/libasan\.so\S*)", linked), str(Path(build) / "tests/tools/tree-kernel.so")]
        return {"LD_PRELOAD": ":".join(preloaded), "TREE_KERNEL_ROOT": str(self.root)}

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return  # stopped
            with connection:
                try:
                    path, _, data = connection.recv(MESSAGE_MAX).partition(b"\0")
                    with self.lock:
                        result = self.written(Path(os.fsdecode(path)), data.decode(errors="replace"))
                    connection.send(struct.pack("i", result))
                except OSError:
                    pass  # the writer died; what it wrote has happened

    def written(self, path, text):
        """0 or a negative errno, as write() says."""
        react = self.files.get(path)
        if react is None:
            return -errno.EACCES
        return react(path, text.strip()) or 0

    # ---- what a write does ----

    def on_plain(self, path, text):
        path.write_text(text + "\n")

    def on_reset_method(self, path, text):
        """Methods in their order, nothing for none, or "default" for all that there are."""
        device = next(d for a, d in self.devices.items() if self.directory(a) == path.parent)
        native = device["attributes"]["reset_method"].split()
        wanted = native if text == "default" else text.split()
        if not set(wanted) <= set(native):
            return -errno.EINVAL
        path.write_text(" ".join(wanted) + "\n")
        return 0

    def on_override(self, path, text):
        path.write_text((text or "(null)") + "\n")

    def on_probe(self, _path, text):
        if text not in self.devices or not self.directory(text).exists():
            return -errno.ENODEV
        if not self.driver(text):
            self.bind(text, self.override(text) or self.native(text))
        return 0

    def on_unbind(self, path, text):
        if text not in self.devices or self.driver(text) != path.parent.name:
            return -errno.ENODEV
        self.set_driver(text, None)
        return 0

    def on_numvfs(self, path, text):
        address = next(a for a in self.devices if self.directory(a) == path.parent)
        if int(path.read_text()) and int(text):
            return -errno.EBUSY
        if int(text) > sum(self.physfn[v] == address for v in self.vfs):
            return -errno.ERANGE
        self.set_vfs(address, int(text))
        return 0

    def on_reset(self, _path, _text):
        return 0

    def driver(self, address):
        try:
            return os.path.basename(os.readlink(self.directory(address) / "driver"))
        except OSError:
            return None

    def override(self, address):
        text = (self.directory(address) / "driver_override").read_text().strip()
        return None if text in ("", "(null)") else text

    def native(self, address):
        ids = self.devices[address]["attributes"]
        key = f'{ids["vendor"][2:]}:{ids["device"][2:]}:{ids["class"][2:]}'
        return next((name for name, driver in self.host["drivers"].items()
                     if any(fnmatch.fnmatchcase(key, m) for m in driver.get("match", []))), None)

    def bind(self, address, name):
        if name and (self.sys / "bus/pci/drivers" / name).exists():
            self.set_driver(address, name)

    def set_driver(self, address, name):
        directory, old = self.directory(address), self.driver(address)
        group = self.devices[address].get("links", {}).get("iommu_group")
        if name and group is not None:
            self.set_node(group, name)  # before the link by which a worker sees that it is bound
        if old:
            (directory / "driver").unlink()
            (self.sys / "bus/pci/drivers" / old / address).unlink(missing_ok=True)
        if name:
            make_tree.link(directory / "driver", self.sys / "bus/pci/drivers" / name)
            make_tree.link(self.sys / "bus/pci/drivers" / name / address, directory)
        if group is not None:
            self.set_node(group)
        self.send("bind" if name else "unbind", address)

    def set_node(self, group, coming=None):
        members = [a for a in self.devices if self.devices[a].get("links", {}).get("iommu_group") == group]
        node = self.root / "dev/vfio" / group
        if any((name or "").endswith(("vfio-pci", "vfio_pci")) for name in [coming, *map(self.driver, members)]):
            node.touch()
        else:
            node.unlink(missing_ok=True)

    def set_vfs(self, pf, count):
        (self.directory(pf) / "sriov_numvfs").write_text(f"{count}\n")
        for n, address in enumerate(v for v in self.vfs if self.physfn[v] == pf):
            here = self.directory(address).exists()
            if n < count and not here:
                make_tree.make_device(self.sys, self.devices[address], self.paths)
                link = self.directory(pf) / f"virtfn{n}"
                make_tree.link(link, self.directory(address))
                self.adopt_device(address)
                self.send("add", address)
            elif n >= count and here:
                self.remove_vf(pf, n, address)

    def remove_vf(self, pf, n, address):
        self.set_driver(address, None)
        for path in (self.directory(pf) / f"virtfn{n}", self.sys / "bus/pci/devices" / address,
                     self.sys / "kernel/iommu_groups" / self.devices[address]["links"]["iommu_group"] / "devices" /
                     address):
            path.unlink(missing_ok=True)
        self.files = {path: react for path, react in self.files.items() if self.directory(address) not in path.parents}
        shutil.rmtree(self.directory(address))
        self.send("remove", address)

    # ---- events, and what there is ----

    def send(self, action, address):
        path = self.root / "run/pciassignd-uevents"
        self.sequence += 1
        words = [f"{action}@/devices/{self.paths[address]}", f"ACTION={action}", f"DEVPATH=/devices/{self.paths[address]}",
                 "SUBSYSTEM=pci", f"PCI_SLOT_NAME={address}", f"SEQNUM={self.sequence}"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            try:
                s.sendto("\0".join(words).encode() + b"\0", str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                pass  # nobody listens, as when no daemon runs

    def state(self):
        """Driver, override and settings of every function that is there, owner of every VFIO node."""
        here = [a for a in self.devices if self.directory(a).exists()]
        nodes = {n.name: (n.stat().st_uid, n.stat().st_gid) for n in (self.root / "dev/vfio").iterdir() if n.is_file()}
        return {"drivers": {a: self.driver(a) for a in here}, "overrides": {a: self.override(a) for a in here},
                "settings": {a: self.settings(a) for a in here}, "nodes": nodes}

    def settings(self, address):
        directory = self.directory(address)
        return {n: (directory / n).read_text().strip() for n in SETTINGS if (directory / n).exists()}

    def put(self, state, vfs):
        """What state() said once, without a word to anybody: drivers, overrides, owners of nodes; vfs by function."""
        with self.lock:
            for pf, count in vfs.items():
                self.set_vfs(pf, count)
            for address, override in state["overrides"].items():
                self.on_override(self.directory(address) / "driver_override", override)
            for address, settings in state["settings"].items():
                for name, text in settings.items():
                    self.on_plain(self.directory(address) / name, text)
            for address, driver in state["drivers"].items():
                if self.driver(address) != driver:
                    self.set_driver(address, driver)
            for node, (uid, gid) in state["nodes"].items():
                os.chown(self.root / "dev/vfio" / node, uid, gid)

    def vf_counts(self):
        return {pf: sum(self.directory(v).exists() for v in self.vfs if self.physfn[v] == pf)
                for pf in set(self.physfn.values())}

    def reset(self):
        """Back to how it was made."""
        self.put(self.before, {pf: self.initial_vfs for pf in set(self.physfn.values())})


def small_host(path):
    """A GPU of two functions in a group, a NIC, an NVMe and a NIC with virtual functions, of the host at path."""
    host = json.loads(Path(path).read_text())
    vfs = [d["address"] for d in host["devices"] if "physfn" in d.get("links", {})]
    pfs = {d["links"]["physfn"] for d in host["devices"] if d["address"] in vfs}
    return part_of(host, {"0000:41:00.0", "0000:41:00.1", "0000:43:00.0", "0000:45:00.0", *vfs, *pfs})

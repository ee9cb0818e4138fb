# SPDX-License-Identifier: LGPL-2.1-or-later
"""Instruction counts of inventory, object reply, event path, verdicts and load of a policy: the same each time, whatever
else the machine does.

The record (callgrind.json) holds counts by machine, compiler and libraries, since their code is counted as well. Where this
combination has no record yet, the growth from 64 to 512 functions is the gate: linear for the whole, none for one event.
"""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

RECORD = Path(__file__).resolve().parent / "callgrind.json"
TOLERANCE = 1.02
SMALL, LARGE = 64, 512


def fingerprint():
    """What the counts depend on besides our code."""
    def first(command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()[0] if done.stdout else "?"
    libraries = [first(["pkg-config", "--modversion", name]) for name in ("libsystemd", "json-c", "libudev")]
    return " ".join([first(["uname", "-m"]), first(["gcc", "-dumpfullversion"]), first(["ldd", "--version"]), *libraries])


def total(path):
    """Instructions of one callgrind output, all dumps together."""
    counts = [int(m) for m in re.findall(r"^(?:totals|summary): (\d+)", path.read_text(encoding="utf-8"), re.M)]
    return max(counts) if counts else 0


def valgrind(output, function):
    return ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={output}", f"--toggle-collect={function}",
            "--combine-dumps=yes"]


def count_scan(bench, functions):
    _, tree = bench.host(functions)
    output = bench.directory / f"scan-{functions}.callgrind"
    bench.must([*valgrind(output, "scan"), bench.program("bench-scan"), tree, "1"])
    return total(output)


@contextlib.contextmanager
def daemon_under_callgrind(bench, output, function, tree):
    build = bench.build
    runtime = bench.directory / f"cg-{output.stem}"
    for name in ("run", "state"):
        (runtime / name).mkdir(mode=0o700, parents=True)
    daemon = subprocess.Popen(
        [str(c) for c in [*valgrind(output, function), build / "pciassignd", "--bus", bench.address, "--root", tree,
                          "--runtime-dir", runtime / "run", "--state-dir", runtime / "state", "--worker-path",
                          build / "pciassign-worker"]], env=bench.environment(), stderr=bench.log)
    try:
        until = time.monotonic() + 120
        while "org.pciassign1 " not in bench.busctl("list", "--no-legend"):
            if daemon.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the daemon does not come up under callgrind")
        bench.wait_settled()
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def count_objects(bench, functions):
    _, tree = bench.host(functions)
    output = bench.directory / f"objects-{functions}.callgrind"
    with daemon_under_callgrind(bench, output, OBJECTS_FUNCTION, tree):
        bench.must(["busctl", f"--address={bench.address}", "call", "org.pciassign1", "/org/pciassign1",
                    "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"])
    return total(output)


def count_event(bench, functions):
    host, tree = bench.host(functions)
    with open(host, encoding="utf-8") as file:
        device = next(d for d in json.load(file)["devices"]
                      if "driver" in d.get("links", {}) and not d["attributes"]["class"].startswith("0x06")
                      and d["attributes"].get("sriov_numvfs", "0") == "0")
    output = bench.directory / f"event-{functions}.callgrind"
    with daemon_under_callgrind(bench, output, EVENT_FUNCTION, tree):
        bench.must([bench.program("bench-client"), "inject", "20", tree / "run/pciassignd-uevents",
                    f"/devices/{device['path']}", device["address"], tree / "sys/devices" / device["path"] / "driver"],
                   env=bench.environment())
    return total(output)


def count_verdicts(bench, functions):
    output = bench.directory / f"verdicts-{functions}.callgrind"
    bench.must([*valgrind(output, VERDICTS_FUNCTION), bench.program("bench-policy"), "verdicts", bench.policy(1000), "1",
                functions])
    return total(output)


def count_load(bench, functions):
    output = bench.directory / f"load-{functions}.callgrind"
    bench.must([*valgrind(output, LOAD_FUNCTION), bench.program("bench-policy"), "load", bench.policy(functions), "1"])
    return total(output)


# Where counting starts and stops: the functions that answer GetManagedObjects and that take an event.
OBJECTS_FUNCTION = "on_manager_path"
EVENT_FUNCTION = "engine_handle_event"
VERDICTS_FUNCTION = "judge"
LOAD_FUNCTION = "policy_compile"
FIGURES = {"inventory": count_scan, "objects": count_objects, "event": count_event, "verdicts": count_verdicts,
           "policy": count_load}


def run(bench, record):
    bench.start_bus()
    key = fingerprint()
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    counts = {}
    for name, count in FIGURES.items():
        small, large = count(bench, SMALL), count(bench, LARGE)
        if not small or not large:
            raise SystemExit(f"callgrind: nothing was counted for {name}")
        counts[name] = large
        growth = large / small
        bench.report.gate(f"{name}: instructions, {LARGE} to {SMALL} functions", growth,
                          1.1 if name == "event" else 8.8, f"{large} instructions")
        if name in known.get(key, {}) and not record:
            bench.report.gate(f"{name}: instructions to the record", large / known[key][name], TOLERANCE,
                              f"record {known[key][name]}")
    if record:
        known[key] = counts
        RECORD.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    elif key not in known:
        print(f"     no record for {key}: growth alone was checked", file=sys.stdout)

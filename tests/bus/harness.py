# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the scenarios of the bus tier share: a private bus, the real daemon over a simulated host, clients of any user, a
polkit that answers as told, and a socket that hears what a service manager would.

Nothing here sleeps: everything waits for the event it needs, with a limit.
"""

import contextlib
import grp
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

TOP = Path(os.environ.get("top_srcdir", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("top_builddir", TOP / "build"))
HOST = TOP / "tests" / "data" / "two-socket-gpu-server.json"
DAEMON = os.environ.get("PCIASSIGND", str(BUILD / "pciassignd"))
CLIENT = os.environ.get("PCIASSIGNCTL", str(BUILD / "pciassignctl"))

NAME = "org.pciassign1"
PATH = "/org/pciassign1"
MANAGER, DEVICE, GROUP = f"{NAME}.Manager", f"{NAME}.Device", f"{NAME}.Group"
ASSIGNMENT, JOB, SIMULATOR = f"{NAME}.Assignment", f"{NAME}.Job", f"{NAME}.Simulator"
PROPERTIES = "org.freedesktop.DBus.Properties"
ERROR = f"{NAME}.Error."
LIMIT = 30.0  # seconds for anything to happen; a wait that lasts so long has failed
# Users that every Debian has, since the bus turns unknown ones away. Members of the group ADMIN_GID are asked nothing.
ALICE, BOB, NOBODY, ADMIN_GID = (pwd.getpwnam("daemon").pw_uid, pwd.getpwnam("bin").pw_uid,
                                 pwd.getpwnam("nobody").pw_uid, grp.getgrnam("adm").gr_gid)

# The queues' size is said: what a bus takes by itself differs by release, and a short one drops replies in a flood.
BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/>
    <allow send_type="method_call"/> <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/> <allow receive_type="method_return"/>
    <allow receive_type="error"/> <allow receive_type="signal"/>
  </policy>
  <limit name="max_incoming_bytes">133169152</limit> <limit name="max_outgoing_bytes">133169152</limit>
  {limits}
</busconfig>
"""


# The rules of most scenarios: who is authorised may name any owner.
EVERYBODY_OWNS = {"version": 1, "defaults": {"owners": [{"owner": "*", "users": [ALICE, BOB, NOBODY]}]}}


class BusError(Exception):
    """An error reply: name without our prefix, message, and the details that the second argument carries."""

    def __init__(self, name, message, details):
        super().__init__(f"{name}: {message}")
        self.name = name.removeprefix(ERROR)
        self.message, self.details = message, details


def options(**values):
    """{"no_wait": True} → a{sv} with "no-wait"; Variants stay, text, truth and dictionaries of text are wrapped."""
    def wrap(v):
        if isinstance(v, GLib.Variant):
            return v
        if isinstance(v, bool):
            return GLib.Variant("b", v)
        if isinstance(v, str):
            return GLib.Variant("s", v)
        if isinstance(v, dict):
            return GLib.Variant("a{ss}", v)
        raise TypeError(v)
    return {k.replace("_", "-"): wrap(v) for k, v in values.items()}


def wait_until(what, predicate, limit=LIMIT):
    """Runs the main context until the predicate holds; its value."""
    context = GLib.MainContext.default()
    deadline = time.monotonic() + limit
    timer = GLib.timeout_source_new(50)  # wakes the context, so that a predicate over files is looked at
    timer.set_callback(lambda *_: True)
    timer.attach(context)
    try:
        while not (value := predicate()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not happen in {limit} s")
            context.iteration(True)
        return value
    finally:
        timer.destroy()


class Reply:
    """A call on its way."""

    def __init__(self, client, message, timeout_ms):
        self.message, self.connection = None, client.connection
        self.connection.send_message_with_reply(
            message, Gio.DBusSendMessageFlags.NONE, timeout_ms, None, self._arrived)

    def _arrived(self, connection, result):
        try:
            self.message = connection.send_message_with_reply_finish(result)
        except GLib.Error as error:
            self.message = error

    @property
    def done(self):
        return self.message is not None

    def wait(self, limit=LIMIT):
        wait_until("A reply", lambda: self.done, limit)
        return unpack(self.message)


def unpack(message):
    """The reply's values, descriptors instead of handles on the way; BusError for an error."""
    if isinstance(message, GLib.Error):
        raise BusError("local", message.message, {})
    body = message.get_body()
    if message.get_message_type() == Gio.DBusMessageType.ERROR:
        values = body.unpack() if body else ("",)
        details = json.loads(values[1]) if len(values) > 1 else {}
        raise BusError(message.get_error_name(), values[0], details)
    fd_list = message.get_unix_fd_list()
    fds = fd_list.steal_fds() if fd_list else []
    return Answer(body.unpack() if body else (), fds)


class Answer(tuple):
    """The values of a reply; .fds are its descriptors, owned by the receiver."""

    def __new__(cls, values, fds):
        self = super().__new__(cls, values)
        self.fds = fds
        return self


@contextlib.contextmanager
def identity(uid, groups):
    """Effective ids while a socket is connected: what the other end sees."""
    if uid == 0 and not groups:
        yield
        return
    saved = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(saved)


class Client:
    """One connection to the bus, of any user."""

    def __init__(self, bus, uid=0, groups=()):
        flags = (Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION)
        with identity(uid, list(groups)):
            self.connection = Gio.DBusConnection.new_for_address_sync(bus.address, flags, None, None)
        self.connection.set_exit_on_close(False)
        self.name = self.connection.get_unique_name()
        self.signals = []

    def close(self):
        if not self.connection.is_closed():
            self.connection.close_sync(None)

    def send(self, path, interface, member, signature=None, *values, fds=(), destination=NAME, interactive=False,
             timeout=LIMIT):
        message = Gio.DBusMessage.new_method_call(destination, path, interface, member)
        if signature:
            message.set_body(GLib.Variant(f"({signature})", values))
        if fds:
            message.set_unix_fd_list(Gio.UnixFDList.new_from_array([os.dup(fd) for fd in fds]))
        if interactive:
            message.set_flags(message.get_flags() | Gio.DBusMessageFlags.ALLOW_INTERACTIVE_AUTHORIZATION)
        return Reply(self, message, int(timeout * 1000))

    def call(self, path, interface, member, signature=None, *values, **keywords):
        return self.send(path, interface, member, signature, *values, **keywords).wait()

    # ---- shorthands ----

    def manager(self, member, signature=None, *values, **keywords):
        return self.call(PATH, MANAGER, member, signature, *values, **keywords)

    def get(self, path, interface, name):
        return self.call(path, PROPERTIES, "Get", "ss", interface, name)[0]

    def get_all(self, path, interface):
        return self.call(path, PROPERTIES, "GetAll", "s", interface)[0]

    def device(self, name):
        return self.manager("GetDevice", "s", name)[0]

    def state(self, name):
        return self.get(self.device(name), DEVICE, "State")

    def driver(self, name):
        return self.get(self.device(name), DEVICE, "Driver")

    def assign(self, devices, owner="vm-1", **keywords):
        """The assignment's path."""
        devices = [devices] if isinstance(devices, str) else devices
        return self.manager("Assign", "assa{sv}", devices, owner, options(**keywords))[0]

    def send_assign(self, devices, owner="vm-1", interactive=False, **keywords):
        devices = [devices] if isinstance(devices, str) else devices
        return self.send(PATH, MANAGER, "Assign", "assa{sv}", devices, owner, options(**keywords),
                         interactive=interactive)

    def release(self, assignment, **keywords):
        return self.call(assignment, ASSIGNMENT, "Release", "a{sv}", options(**keywords))[0]

    def simulate(self, member, signature=None, *values):
        return self.call(PATH, SIMULATOR, member, signature, *values)

    def managed(self):
        return self.call(PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]

    def assignments(self, **filters):
        return self.manager("ListAssignments", "a{sv}", options(**filters))[0]

    # ---- signals ----

    def watch(self):
        """From now on signals of the daemon are collected in .signals as (path, interface, member, values)."""
        self.connection.signal_subscribe(None, None, None, None, None, Gio.DBusSignalFlags.NONE, self._on_signal)
        self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", destination="org.freedesktop.DBus")

    def _on_signal(self, _connection, _sender, path, interface, member, values):
        if path.startswith(PATH):
            self.signals.append((path, interface, member, values.unpack()))

    def wait_signal(self, member, test=lambda path, values: True):
        def find():
            for path, _interface, name, values in self.signals:
                if name == member and test(path, values):
                    return path, values
            return None
        return wait_until(f"Signal {member}", find)

    def wait_property(self, path, interface, name, wanted):
        wait_until(f"{name} = {wanted!r}", lambda: self.get(path, interface, name) == wanted)


class Polkit:
    """A polkit that answers as told: "yes", "no", "challenge", "error", "malformed" or "slow" (when .release() says)."""

    XML = """<node><interface name="org.freedesktop.PolicyKit1.Authority"><method name="CheckAuthorization">
      <arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/><arg type="a{ss}" direction="in"/>
      <arg type="u" direction="in"/><arg type="s" direction="in"/><arg type="(bba{ss})" direction="out"/>
      </method></interface></node>"""

    def __init__(self, bus, answer="yes"):
        self.answer, self.questions, self.parked = answer, [], []
        self.answers = {}  # by action, before .answer
        self.client = Client(bus)
        info = Gio.DBusNodeInfo.new_for_xml(self.XML)
        self.client.connection.register_object("/org/freedesktop/PolicyKit1/Authority", info.interfaces[0],
                                               self._on_call, None, None)
        self.client.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
                         "org.freedesktop.PolicyKit1", 4, destination="org.freedesktop.DBus")

    def _on_call(self, _connection, _sender, _path, _interface, _method, values, invocation):
        subject, action, details, flags, _cancel = values.unpack()
        self.questions.append({"subject": subject, "action": action, "details": details, "flags": flags})
        answer = self.answers.get(action, self.answer)
        if answer == "slow":
            self.parked.append(invocation)
        else:
            self._reply(invocation, answer)

    @staticmethod
    def _reply(invocation, answer):
        if answer == "error":
            invocation.return_dbus_error("org.freedesktop.PolicyKit1.Error.Failed", "as told")
        elif answer == "malformed":
            invocation.get_connection().send_message(malformed_reply(invocation), Gio.DBusSendMessageFlags.NONE)
        else:
            invocation.return_value(GLib.Variant("((bba{ss}))", ((answer == "yes", answer == "challenge", {}),)))

    def release(self, answer):
        for invocation in self.parked:
            self._reply(invocation, answer)
        self.parked = []

    def wait_question(self, count=1):
        wait_until("A question to polkit", lambda: len(self.questions) >= count)

    def close(self):
        self.client.close()


def malformed_reply(invocation):
    message = Gio.DBusMessage.new_method_reply(invocation.get_message())
    message.set_body(GLib.Variant("(s)", ("yes",)))
    return message


class PrivateBus:
    """A dbus-daemon of its own, with the limits of a system bus unless told otherwise."""

    def __init__(self, directory, limits=""):
        self.socket = directory / "bus"
        config = directory / "bus.conf"
        config.write_text(BUS_CONFIG.format(socket=self.socket, limits=limits))
        self.address = f"unix:path={self.socket}"
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", f"--print-address={write_end}"],
            pass_fds=[write_end], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write_end)
        with os.fdopen(read_end) as ready:  # the address is printed when it listens
            if not ready.readline():
                raise RuntimeError("dbus-daemon did not start")
        os.chmod(self.socket, 0o666)

    def stop(self):
        self.process.terminate()
        self.process.wait(LIMIT)


class Notify:
    """The socket of a service manager: states, and the descriptors that were stored."""

    def __init__(self, directory):
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.socket.settimeout(LIMIT)
        self.states, self.stored = [], {}

    def receive(self):
        data, fds, _flags, _address = socket.recv_fds(self.socket, 4096, 16)
        state = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
        self.states.append(state)
        if "FDSTORE" in state and fds:
            self.stored[state["FDNAME"]] = fds[0]
        if "FDSTOREREMOVE" in state:
            with contextlib.suppress(KeyError):
                os.close(self.stored.pop(state["FDNAME"]))
        return state

    def wait(self, key, process=None):
        """Until that key arrives; fails at once when the process has ended."""
        deadline = time.monotonic() + LIMIT
        self.socket.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                if key in self.receive():
                    return
            except TimeoutError:
                if process and process.poll() is not None:
                    raise RuntimeError(f"the daemon ended with {process.returncode}") from None
        raise TimeoutError(f"{key} was not notified in {LIMIT} s")

    def drain(self):
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.receive()

    def close(self):
        self.socket.close()
        os.unlink(self.path)


class Daemon:
    """The real daemon over a simulated host."""

    def __init__(self, bus, directory, host=None, arguments=(), environment=None, user=None):
        self.bus, self.directory, self.user = bus, directory, user
        self.host, self.arguments, self.environment = host, list(arguments), environment or {}
        self.process = None
        for name in ("run", "state"):
            (directory / name).mkdir(exist_ok=True)
            if user is not None:
                os.chown(directory / name, user, user)
        self.log = directory / "daemon.log"

    def command(self):
        prefix = [] if self.user is None else ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups",
                                               "--bounding-set=-all", "--inh-caps=-all"]
        return [*prefix, DAEMON, f"--config-root={self.directory}", f"--simulate={self.host}", f"--bus={self.bus.address}", f"--runtime-dir={self.directory}/run",
                f"--state-dir={self.directory}/state", "--log-level=debug", *self.arguments]

    def start(self, fds=None):
        """Until it says that it is ready. fds: name → descriptor, as a service manager gives back what was stored."""
        self.notify = Notify(self.directory)
        environment = {"ASAN_OPTIONS": "quarantine_size_mb=1", **os.environ, **self.environment,
                       "NOTIFY_SOCKET": self.notify.path}
        stored = dict(fds or {})
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command() if not stored else listening(self.command(), stored), env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=list(stored.values()))
        try:
            self.notify.wait("READY", self.process)
        except Exception:
            self.kill()
            raise
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            status = self.process.wait(LIMIT)
        else:
            status = self.process.returncode if self.process else 0
        self.notify.drain()
        self.notify.close()
        self.process = None
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def text(self):
        return self.log.read_text(errors="replace")


def listening(command, fds):
    """The command with fds from 3 on and LISTEN_ variables, which hold the pid: so a shell sets them and executes."""
    moves = " ".join(f"{3 + n}<&{fd}" for n, fd in enumerate(fds.values()))
    script = f'LISTEN_PID=$$ LISTEN_FDS={len(fds)} LISTEN_FDNAMES={":".join(fds)}; ' \
             f'export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; exec "$@" {moves}'
    return ["bash", "-c", script, "bash", *command]


class World:
    """What a scenario gets: bus, daemon, and whatever it makes through here is taken down with it."""

    def __init__(self, directory, bus):
        self.directory, self.bus = directory, bus
        self.opened = []
        self.daemon = None

    def host(self, change=None, slow=False):
        """The simulated server, its drivers without delay unless `slow`, changed by `change`."""
        host = json.loads(HOST.read_text())
        if not slow:
            for driver in host["drivers"].values():
                driver.pop("bind-msec", None)
                driver.pop("unbind-msec", None)
        if change:
            change(host)
        path = self.directory / "host.json"
        path.write_text(json.dumps(host))
        return path

    def settings(self, text="", group=grp.getgrgid(ADMIN_GID).gr_name):
        """pciassignd.conf of the next start or reload; members of the group are trusted."""
        path = self.directory / "etc" / "pciassignd" / "pciassignd.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[Daemon]\nAdminGroup={group}\n{text}")

    def policy(self, text, name="50-tests.json", place="etc"):
        """A file of rules for the next start or reload: JSON as text or as a value; None removes it. Its path."""
        places = {"etc": "etc/pciassignd", "run": "run/pciassignd", "lib": "usr/lib/pciassignd"}
        path = self.directory / places[place] / "policy.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text if isinstance(text, str) else json.dumps(text))
        return path

    def start(self, change=None, slow=False, settings="", policy=EVERYBODY_OWNS, **keywords):
        self.settings(settings)
        if policy is not None:
            self.policy(policy)
        self.daemon = Daemon(self.bus, self.directory, self.host(change, slow), **keywords).start()
        return self.daemon

    def client(self, uid=0, groups=()):
        client = Client(self.bus, uid, groups)
        self.opened.append(client)
        return client

    def polkit(self, answer="yes"):
        polkit = Polkit(self.bus, answer)
        self.opened.append(polkit)
        return polkit

    def settled(self, client):
        client.wait_property(PATH, MANAGER, "Settled", True)

    def close(self):
        for thing in reversed(self.opened):
            thing.close()
        status = self.daemon.stop() if self.daemon and self.daemon.process else 0
        if status != 0:
            raise AssertionError(f"the daemon ended with status {status}")


SCENARIOS = []


def scenario(function):
    """A test: gets a World with a running daemon, unless it takes "bare"."""
    SCENARIOS.append(function)
    return function


@contextlib.contextmanager
def expect(name, *words):
    """The block fails with this error, whose message has the words."""
    try:
        yield
    except BusError as error:
        assert error.name == name, f"expected {name}, got {error}"
        for word in words:
            assert word in error.message, f"expected {word!r} in: {error.message}"
        return
    raise AssertionError(f"expected {name}, nothing failed")


class Holder:
    """A thread that makes calls of a client while the scenario does something else."""

    def __init__(self, function):
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(function,))
        self.thread.start()

    def _run(self, function):
        try:
            function()
        except Exception as error:  # handed to the scenario
            self.error = error

    def join(self):
        self.thread.join(LIMIT)
        if self.error:
            raise self.error


def temporary_directory():
    path = Path(tempfile.mkdtemp(prefix="pciassignd-bus-"))
    path.chmod(0o711)  # other users' clients reach the socket
    return path


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)

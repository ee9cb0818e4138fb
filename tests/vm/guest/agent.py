# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs in the guest: takes one request a line from the second serial port and obeys it.

A scenario inherits the port and reports by itself; the agent is silent until it has ended.
"""

import json
import os
import pathlib
import signal
import subprocess
import termios
import tty

PORT = '/dev/ttyS1'
LAB = pathlib.Path('/lab')
INSTALL = [
    'tar -C /lab/stage -c . | tar -C / -x --keep-directory-symlink --no-overwrite-dir '
    '--no-same-owner',
    'systemd-sysusers', 'systemd-tmpfiles --create', 'systemctl daemon-reload',
    'udevadm control --reload', 'ldconfig',
    'systemctl reload dbus.service',
]
START = ['systemctl start pciassignd.service']


def send(port, **message):
    """One line to the other side."""
    os.write(port, json.dumps(message).encode() + b'\n')


def receive(port):
    """One line from the other side; it sends the next only when this one is answered."""
    line = b''
    while not line.endswith(b'\n'):
        line += os.read(port, 4096)
    return json.loads(line)


def install(start):
    """Lay the staged package over the root and start the service, as a package would."""
    for command in INSTALL + (START if start else []):
        done = subprocess.run(['sh', '-c', command], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            return f'{command}: exit {done.returncode}\n{done.stdout}'
    return ''


def run_scenario(port, name, seconds, boot):
    """Run one scenario; why it failed to end by itself, or ''."""
    script = LAB / 'scenarios' / f'{name}.py'
    environment = dict(os.environ, LAB_PORT=str(port), LAB_NAME=name, LAB_BOOT=str(boot),
                       PYTHONPATH=str(LAB / 'guest'), PYTHONDONTWRITEBYTECODE='1',
                       PATH='/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin')
    with open(LAB / 'out' / f'{name}.log', 'ab' if boot else 'wb') as log:
        process = subprocess.Popen(['/usr/bin/python3', '-u', str(script)], stdout=log,
                                   stderr=log, stdin=subprocess.DEVNULL, env=environment,
                                   pass_fds=[port], start_new_session=True, cwd='/root')
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            with open('/proc/sysrq-trigger', 'w', encoding='ascii') as trigger:
                trigger.write('w')
            os.killpg(process.pid, signal.SIGKILL)
            return f'not done after {seconds} s'
    return '' if status == 0 else f'exit status {status}'


def dump(name):
    """The journal of this boot, where the other side can read it."""
    with open(LAB / 'out' / f'{name}.journal', 'wb') as out:
        subprocess.run(['journalctl', '-b', '--no-pager', '-o', 'short-monotonic'],
                       stdout=out, stderr=out, check=False)
        out.flush()
        subprocess.run(['systemctl', '--no-pager', 'status', 'pciassignd.service',
                        'pciassign-worker.socket', '-n0'], stdout=out, stderr=out, check=False)


def main():
    """Serve until the machine is switched off."""
    port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    termios.tcflush(port, termios.TCIOFLUSH)
    done = subprocess.run(['systemctl', 'is-system-running', '--wait'], stdout=subprocess.PIPE,
                          text=True, check=False)
    subprocess.run(['udevadm', 'settle', '--timeout=60'], check=False)
    send(port, event='hello', system=done.stdout.strip())
    while True:
        request = receive(port)
        reason = ''
        if request['do'] == 'install':
            reason = install(request['start'])
        elif request['do'] == 'run':
            reason = run_scenario(port, request['name'], request['seconds'],
                                  request['boot'])
        elif request['do'] == 'dump':
            dump(request['name'])
        send(port, event='done', reason=reason)
        if request['do'] == 'reboot':
            with open('/proc/sysrq-trigger', 'w', encoding='ascii') as trigger:
                trigger.write('b')


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job, told by the client's own output: look, explain, plan, assign, open, crash, release.

The same walk goes over the simulated server (tests/demo) and over a virtual machine's real VFIO
(scenarios/main-job.py); the Cast says who plays which part. Each command is the real one, its output is
written as it comes, and the first that does not do what is said here ends the walk.
"""

import dataclasses
import json
import os
import shlex
import signal
import subprocess


class Stop(Exception):
    """Something was not as it was told."""


@dataclasses.dataclass
class Cast:
    """Devices by address or whatever names them, and words that must be said of them."""

    shown: list        # what is listed in the beginning
    shown_says: list
    needed: str        # the NIC with the default route
    card: str          # a function whose group has one more
    card_driver: str
    mate: str
    mate_driver: str
    opener: list       # a command with placeholders
    opener_says: str
    vmm_card: str
    vmm_driver: str
    vmm: list          # a monitor that says one line when it has the device, and goes on
    vmm_text: str      # how it is written in the walk
    vmm_says: str


class Show:
    """Writes commands and what they say, and stops at the first that is not as told."""

    def __init__(self, write, color=False):
        self.write = write
        self.color = color
        self.steps = 0

    def require(self, good, text):
        """Stops unless GOOD."""
        if not good:
            raise Stop(text)

    def title(self, text):
        """What comes now."""
        self.steps += 1
        bold, end = ('\033[1;36m', '\033[0m') if self.color else ('', '')
        self.write(f'\n{bold}{self.steps}. {text}{end}\n')

    def command(self, *argv):
        """As a person would type it."""
        self.write(f'$ {shlex.join(argv)}\n')

    def run(self, *argv, status=0, says=()):
        """One command with its exit status and words that its output must hold; the output."""
        self.command('pciassignctl', *argv)
        options = ['--color=always'] if self.color else []
        done = subprocess.run(['pciassignctl', *options, *argv], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                              check=False)
        self.write(done.stdout)
        if status:
            self.write(f'(exit code {done.returncode})\n')
        self.require(done.returncode == status, f'exit code {done.returncode}, not {status}')
        for words in says:
            self.require(words in done.stdout, f'the output does not say {words!r}')
        return done.stdout


def query(*argv):
    """A command's JSON, unseen: for checks."""
    return json.loads(subprocess.run(['pciassignctl', *argv, '--json'], stdout=subprocess.PIPE,
                                     check=True).stdout)


def look_around(show, cast):
    """Before anything is done."""
    show.title('Can this host assign devices at all?')
    show.run('doctor', says=['This host can assign devices'])
    show.title('What is there, who drives it, and what blocks each?')
    show.run('list', *cast.shown, says=cast.shown_says)
    show.title('Why may nobody have the NIC with the default route? Because this is what the host '
               'would lose.')
    show.run('explain', cast.needed, '--owner=vm-7', status=4,
             says=['cannot be assigned', 'default route'])
    show.title('And this card? A second function is in the same IOMMU group: one owner per group.')
    show.run('explain', cast.card, '--owner=vm-7', status=4, says=['group-member', 'take-all'])


def assign(show, cast):
    """From the plan to the assignment."""
    show.title('So park the second function for the same owner. First only the plan: every step '
               'and what undoes it.')
    text = show.run('plan', cast.card, '--owner=vm-7', '--group=take-all',
                    says=[f'unbind {cast.card} from {cast.card_driver}',
                          f'undo: bind {cast.card} to {cast.card_driver}', 'Token: '])
    token = text.split('Token: ')[1].split()[0]
    show.title('Then do exactly that: with the token nothing happens if any fact has changed '
               'since.')
    show.run('assign', cast.card, '--owner=vm-7', '--group=take-all', f'--token={token}',
             says=['active', 'parked with it'])
    show.require(query('list', cast.card)[0]['driver'] == 'vfio-pci', 'it is not on vfio-pci')
    show.run('list', cast.card, cast.mate, says=['vfio-pci', 'assigned', 'vm-7'])
    show.title('A second owner is refused.')
    show.run('assign', cast.card, '--owner=vm-8', '--group=take-all', status=5,
             says=['belongs to vm-7'])


def hand_over(show, cast):
    """Descriptors, and the way back."""
    show.title('The owner opens it: VFIO descriptors come over D-Bus and are inherited by the '
               'command.')
    show.run('open', cast.card, '--', *cast.opener, says=[cast.opener_says])
    show.title('Given back: the host has it as it was.')
    show.run('release', cast.card, says=['released'])
    show.run('list', cast.card, cast.mate, says=[cast.card_driver, cast.mate_driver, 'host'])


def crash(show, cast):
    """An owner that dies."""
    show.title('Now around a virtual machine monitor: the assignment lives exactly as long as it '
               'does.')
    argv = ['pciassignctl', 'run', cast.vmm_card, '--owner=vm-9', '--']
    show.write(f'$ {shlex.join(argv)} {cast.vmm_text} &\n')
    with subprocess.Popen([*argv, *cast.vmm], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as run:
        line = run.stdout.readline()
        show.write(line)
        show.require(cast.vmm_says in line, 'the monitor did not start')
        show.run('list', cast.vmm_card, says=['vfio-pci', 'assigned', 'vm-9'])
        show.title('It crashes. Nobody releases anything; the daemon sees the process end.')
        pid = query('list', '--assignments')[0]['pid']
        show.command('kill', '-9', str(pid))
        os.kill(pid, signal.SIGKILL)
        rest, _ = run.communicate(timeout=60)
        show.write(rest)
        show.require(run.returncode == 128 + signal.SIGKILL,
                     f'run ended with {run.returncode}, not with the monitor\'s')
    show.run('list', cast.vmm_card, says=[cast.vmm_driver, 'host'])


def walk(show, cast):
    """All of it; the host ends as it began."""
    before = query('list')
    look_around(show, cast)
    assign(show, cast)
    hand_over(show, cast)
    crash(show, cast)
    show.title('Nothing is left: no assignment, every driver as in the beginning; and what was '
               'done is still told.')
    show.run('jobs', says=['release', 'done'])
    show.require(query('list', '--assignments') == [], 'an assignment is left')
    show.require(query('list') == before, 'the host is not as it was')

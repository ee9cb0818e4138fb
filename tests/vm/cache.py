# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where built things are kept between runs, and the private apt that fetches their parts.

An entry is named by the hash of everything that went into its recipe and is published by one
rename, so a half-made one is never used and a changed recipe never meets an old result.
The mirror is the one that this machine's own apt uses.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
UNUSED_DAYS = 30


class BuildError(Exception):
    """Something outside the tree is missing or failed; the text says what to do."""


def cache_directory():
    """The directory that holds all entries."""
    own = os.environ.get('PCIASSIGND_CACHE')
    if own:
        return pathlib.Path(own)
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(base) / 'pciassignd'


def recipe_hash(files, *words):
    """Hash of the contents of FILES and of WORDS."""
    digest = hashlib.sha256()
    for path in sorted(map(pathlib.Path, files)):
        digest.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
    for word in words:
        digest.update(str(word).encode() + b'\0')
    return digest.hexdigest()[:16]


def say(text):
    """Progress goes to stderr: stdout carries only the result."""
    print(f'vm: {text}', file=sys.stderr, flush=True)


def run(*argv, **kwargs):
    """Run a command; its output becomes the error text when it fails."""
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          stdin=subprocess.DEVNULL, **kwargs)
    if done.returncode:
        tail = '\n'.join(done.stdout.splitlines()[-25:])
        raise BuildError(f'{" ".join(map(str, argv[:3]))} … exited {done.returncode}:\n{tail}')
    return done.stdout


def need(*programs):
    """Fail early, by name, when a program is not installed."""
    path = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'
    os.environ['PATH'] = path
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        raise BuildError(f'not installed: {" ".join(missing)}; ./bootstrap installs them')


@contextlib.contextmanager
def _locked(path):
    with open(path, 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _drop_unused(directory, kind, keep):
    limit = time.time() - UNUSED_DAYS * 86400
    for old in directory.glob(f'{kind}-*'):
        if old != keep and old.is_dir() and old.stat().st_mtime < limit:
            shutil.rmtree(old, ignore_errors=True)


def entry(kind, key, build):
    """The entry KIND-KEY, made by BUILD(directory) when it is not there yet."""
    directory = cache_directory()
    final = directory / f'{kind}-{key}'
    if final.is_dir():
        os.utime(final)
        return final
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / f'.{kind}.lock'):
        if final.is_dir():
            return final
        work = pathlib.Path(tempfile.mkdtemp(prefix=f'.{kind}-', dir=directory))
        try:
            result = work / 'result'
            result.mkdir()
            build(work, result)
            result.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _drop_unused(directory, kind, final)
    return final


def host_codename():
    """The Debian release of this machine: the guest's libraries must match what is built here."""
    with open('/etc/os-release', encoding='utf-8') as release:
        values = dict(line.rstrip().split('=', 1) for line in release if '=' in line)
    return values.get('VERSION_CODENAME', '').strip('"')


class Apt:
    """apt with its own sources, lists and cache below WORK; the host's stay untouched."""

    def __init__(self, work, suites):
        self.sources = work / 'sources.list'
        self.mirror = self._host_mirror()
        self.sources.write_text(''.join(
            f'deb [signed-by={KEYRING}] {self.mirror} {suite} main\n'
            f'deb-src [signed-by={KEYRING}] {self.mirror} {suite} main\n' for suite in suites))
        lists, archives = work / 'lists', work / 'cache'
        (lists / 'partial').mkdir(parents=True)
        (archives / 'archives' / 'partial').mkdir(parents=True)
        self.options = [
            f'-oDir::Etc::SourceList={self.sources}', '-oDir::Etc::SourceParts=/dev/null',
            f'-oDir::State::Lists={lists}', f'-oDir::Cache={archives}',
            '-oDir::State::Status=/dev/null', '-oAPT::Sandbox::User=root',
            '-oAPT::Architectures=amd64', '-oAPT::Architecture=amd64',
            '-oAcquire::Languages=none', '-oAcquire::Retries=3']
        run('apt-get', *self.options, 'update')

    @staticmethod
    def _host_mirror():
        listing = run('apt-get', 'indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)',
                      'Created-By: Packages')
        codename = host_codename()
        for line in listing.splitlines():
            uri, release, component = (line.split() + ['', '', ''])[:3]
            if component == 'main' and release in (codename, 'stable', 'oldstable'):
                return uri
        raise BuildError(f'apt has no Debian {codename} main source; add one to sources.list')

    def show(self, package, field):
        """The values of FIELD in every version of PACKAGE."""
        text = run('apt-cache', *self.options, 'show', package)
        return [line.partition(': ')[2] for line in text.splitlines()
                if line.startswith(field + ': ')]

    def download(self, package, directory):
        """Fetch PACKAGE.deb into DIRECTORY; its path."""
        directory.mkdir(exist_ok=True)
        run('apt-get', *self.options, 'download', package, cwd=directory)
        found = sorted(directory.glob(package.split('=')[0] + '_*.deb'))
        if not found:
            raise BuildError(f'apt-get download {package} left no file')
        return found[-1]

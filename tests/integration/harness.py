# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the real vfiod on a private bus over a pretended host. README.md is the introduction.

Waiting is done in one place, wait(): it runs the main loop until a condition holds. Whatever can make one true (a signal
of the bus, something that happened in the fake kernel, a message of the daemon to its service manager, the end of
a process) wakes the loop. There are no sleeps.
"""

import collections
import contextlib
import ctypes
import datetime
import faulthandler
import json
import os
import pathlib
import platform
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import dbus
import dbus.bus
import dbus.lowlevel
import dbus.mainloop.glib
from gi.repository import GLib

from host import Host

NAME = 'org.vfiod1'
ROOT_PATH = '/org/vfiod1'
ERROR = 'org.vfiod1.Error.'
PROPERTIES = 'org.freedesktop.DBus.Properties'
OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager'
NOBODY = 65534
IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x80, 0x100, 0x200
SLOT_SIZE, SLOT_HALF = 8192, struct.Struct('=8sQQQ')  # src/core/slot.h

CALL_TIMEOUT = 20  # seconds; for a call that must come back
WAIT_TIMEOUT = 20  # for an event that must happen
TEST_TIMEOUT = 110  # for one test function, before its stacks are dumped
SOURCE = pathlib.Path(__file__).resolve().parents[2]

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)


def preload_environment(host):
    """The environment of a program that lives on the pretended host. Our preload comes first: umockdev's calls libc
    directly."""
    environment = {**os.environ, **host.kernel.environment}
    environment['LD_PRELOAD'] = f'{os.environ["VFIOD_TEST_PRELOAD"]}:libumockdev-preload.so.0'
    environment['ASAN_OPTIONS'] = os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'
    return environment


def files_of(pid):
    """What the fds of a process lead to. What closes meanwhile is left out, and so is a process that ends."""
    found = []
    with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
        for fd in os.listdir(f'/proc/{pid}/fd'):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
    return found


LIBC = ctypes.CDLL(None, use_errno=True)
SETGROUPS, SETRESUID, SETRESGID = {'x86_64': (116, 117, 119)}.get(platform.machine(), (159, 147, 149))


def become(uid):
    """Only the effective ids, so that there is a way back."""
    steps = [(SETGROUPS, 0, 0), (SETRESGID, -1, uid, -1), (SETRESUID, -1, uid, -1)]
    for step in steps if uid else reversed(steps):
        if LIBC.syscall(*step) < 0:
            raise OSError(ctypes.get_errno(), 'cannot become another user')


@contextlib.contextmanager
def identity(uid):
    """In this block the calling thread is another user, and so is the owner of a connection that it makes. glibc's
    functions (os.seteuid) would change every thread: those of the pretended kernel and udev go on as root."""
    become(uid)
    try:
        yield
    finally:
        become(0)


def wait(condition, what, timeout=WAIT_TIMEOUT):
    """Runs the main loop until condition() is true; gives back what it returned."""
    context = GLib.MainContext.default()
    end = time.monotonic() + timeout
    alarm = GLib.timeout_add(int(timeout * 1000) + 1, lambda: True)  # only to wake the loop
    try:
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() > end:
                raise AssertionError(f'did not happen within {timeout} s: {what}')
            context.iteration(True)
    finally:
        GLib.source_remove(alarm)


def find_hierarchy(name):
    """Where control groups of the hierarchy that systemd manages, or of its older one, can be made; or None."""
    top = pathlib.Path('/sys/fs/cgroup')
    found = {'unified': top / 'unified' if (top / 'unified').exists() else top, 'systemd': top / 'systemd'}[name]
    return found if os.getuid() == 0 and os.access(found / 'cgroup.procs', os.W_OK) else None


def device_path(name):
    """The object of "pci:0000:06:0d.0", escaped as sd_bus_path_encode(3) does."""
    return ROOT_PATH + '/device/' + ''.join(
        c if c.isascii() and c.isalnum() and not (c.isdigit() and i == 0) else f'_{ord(c):02x}'
        for i, c in enumerate(name))


RFC_3339 = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z')
MICROSECONDS = range(10 ** 15, 10 ** 16)  # since 1970: what is in this range is a time between 2001 and 2286


def with_times(members):
    """An object that vfioctl shows. Beside each time in microseconds, it has the same time in RFC 3339, or null for none."""
    for key, value in members.items():
        name = 'time' if key == 'timestamp' else key + 'Time'
        if type(value) is not int or (value not in MICROSECONDS and name not in members) or key == 'identity':
            continue
        text = members.get(name, '')
        assert text is None if value == 0 else RFC_3339.fullmatch(text or ''), f'{name} of {members}'
        if text:
            seconds = datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp()
            assert abs(seconds * 10 ** 6 - value) < 2, f'{name} of {members}'
    return members


def read_json(text):
    """Of vfioctl --json."""
    return json.loads(text, object_hook=with_times)


def count_refusals(lines):
    """Of how many refusals do these lines of the log tell? Only some have a line of their own."""
    counts = (re.search(r'(\d+) more refusals of', line) for line in lines)
    return sum('Refused ' in line for line in lines) + sum(int(count[1]) for count in counts if count)


def checksum(data, h=0xcbf29ce484222325):
    """FNV-1a, 64 bits. That of a half as earlier versions wrote it."""
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def checksum_by_words(head, text):
    """That of a half."""
    h = checksum(head)
    whole = len(text) // 8 * 8
    for word, in struct.iter_unpack('<Q', text[:whole]):
        h = (h ^ word) * 0x100000001b3 & 0xffffffffffffffff
        h ^= h >> 32
    return checksum(text[whole:], h)


def newest_half(slot):
    """The record in a slot; b'' when there is none, or it is being written."""
    best = (0, b'')
    for half in (slot[:SLOT_SIZE // 2], slot[SLOT_SIZE // 2:]):
        magic, generation, length, expected = SLOT_HALF.unpack_from(half)
        text = half[SLOT_HALF.size:SLOT_HALF.size + length]
        if magic == b'vfiodre2' and checksum_by_words(half[8:24], text) == expected:
            best = max(best, (generation, text))
    return best[1]


class PrivateBus:
    """A dbus-daemon with the rules of a system bus and ours (dbus/org.vfiod1.conf)."""

    def __init__(self, directory, log, more=''):
        """more: policies that come last."""
        self._log = log
        self.address = f'unix:path={directory}/bus'
        self._socket = f'{directory}/bus'
        self._config = f'{directory}/bus.conf'
        own = f'<policy user="{os.getuid()}"><allow own="{NAME}"/></policy>' if os.getuid() else ''
        shipped = os.environ.get('VFIOD_TEST_BUS_CONFIG', SOURCE / 'dbus' / 'org.vfiod1.conf')
        pathlib.Path(self._config).write_text(f'''
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{self.address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.login1"/>
    <allow send_destination="org.freedesktop.systemd1"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
  </policy>
  {own}
  <policy user="{os.getuid()}"><allow own="org.freedesktop.PolicyKit1"/>
    <allow own="org.freedesktop.login1"/><allow own="org.freedesktop.systemd1"/></policy>
  <include>{shipped}</include>
  {more}
</busconfig>''')
        self._process = None
        self.start()

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket)
        ready, child = os.pipe()
        try:
            self._process = subprocess.Popen(
                ['dbus-daemon', f'--config-file={self._config}', '--nofork', f'--print-address={child}'],
                pass_fds=[child], stdout=self._log, stderr=self._log)
        finally:
            os.close(child)
        with os.fdopen(ready) as f:
            if not f.readline():
                raise AssertionError(f'dbus-daemon ended with {self._process.wait(10)}')

    @property
    def pid(self):
        return self._process.pid

    def is_dead(self):
        return self._process.poll() is not None

    def stop(self):
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @contextlib.contextmanager
    def stopped(self):
        """It hears of nothing meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


class DirectoryWatch:
    """Wakes the main loop when something in a directory changes, or a file."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if libc.inotify_add_watch(self._fd, path.encode(), IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE) < 0:
            raise OSError(ctypes.get_errno(), path)
        self._watch = GLib.io_add_watch(self._fd, GLib.PRIORITY_DEFAULT, GLib.IO_IN, self._on_event)

    def _on_event(self, *_):
        os.read(self._fd, 65536)
        return True

    def close(self):
        GLib.source_remove(self._watch)
        os.close(self._fd)


class ServiceManager:
    """What systemd would be to the daemon: hears READY=1 and keeps its fds over a restart. Reads in a thread: the socket
    takes few messages, and the test may be in a blocking call while the daemon sends one."""

    def __init__(self, directory):
        self.path = f'{directory}/notify'
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self.messages = []
        self.fds = {}  # name of a claim -> [fd, …]
        self.others = {}  # what belongs to no claim, likewise
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, 8192, 32, socket.MSG_CMSG_CLOEXEC)
            if data == b'END':
                return
            self._take(dict(line.split('=', 1) for line in data.decode().splitlines() if '=' in line), fds)
            GLib.MainContext.default().wakeup()

    def _take(self, fields, fds):
        name = fields.get('FDNAME', 'stored')
        store = self.fds if name.startswith('claim-') else self.others
        if fields.get('FDSTOREREMOVE') == '1':
            for fd in store.pop(name, []):
                os.close(fd)
        if fields.get('FDSTORE') == '1' and not any(self._has_socket(fd) for fd in fds):
            store.setdefault(name, []).extend(fds)
        else:
            for fd in fds:
                os.close(fd)
        self.messages.append(fields)

    def _has_socket(self, fd):
        """systemd keeps a file once, whatever its names are. Of sockets, the inode tells."""
        st = os.fstat(fd)
        return stat.S_ISSOCK(st.st_mode) and any(
            os.fstat(kept).st_ino == st.st_ino for fds in (*self.fds.values(), *self.others.values()) for kept in fds)

    @staticmethod
    def _close_all(store):
        while store:
            for fd in store.popitem()[1]:
                os.close(fd)

    def forget(self):
        self._close_all(self.fds)

    def lose_others(self):
        self._close_all(self.others)

    def hear_all(self):
        """Waits until everything that was sent to it before is heard."""
        before = len(self.messages)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b'HEARD=1', self.path)
        wait(lambda: any('HEARD' in m for m in self.messages[before:]), 'the service manager reads on')

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b'END', self.path)
        self._thread.join()
        self._socket.close()
        self.forget()
        self.lose_others()


_connections = []


def connect(address):
    """A connection that Python keeps until the test ends: the main loop may still have a message for one that was closed,
    and dbus-python fails whoever runs the loop then if the object is gone."""
    _connections.append(dbus.bus.BusConnection(address))
    return _connections[-1]


class Daemon:
    """One run of vfiod."""

    def __init__(self, test, arguments=(), keep_fds=False, nofile=None):
        """nofile: how many fds it may have"""
        self._test = test
        manager = test.manager
        manager.messages.clear()
        environment = preload_environment(test.host)
        environment.update({'DBUS_SYSTEM_BUS_ADDRESS': test.bus.address, 'NOTIFY_SOCKET': manager.path})
        environment.pop('LISTEN_FDS', None)
        names, passed = list(test.listeners), [s.fileno() for s in test.listeners.values()]
        if keep_fds:
            for name, fds in [*manager.fds.items(), *manager.others.items()]:
                names += [name] * len(fds)
                passed += fds
        command = [os.environ['VFIOD_TEST_DAEMON'], *test.daemon_arguments(), *arguments]
        if nofile:
            command = ['prlimit', f'--nofile={nofile}', *command]
        if passed:
            environment.update({'LISTEN_FDS': str(len(passed)), 'LISTEN_FDNAMES': ':'.join(names)})
            # LISTEN_PID is only known after the fork, and fds have to be numbered from 3.
            script = ('import os, sys\n'
                      'fds = [os.dup(int(n)) for n in sys.argv[1].split(",")]\n'
                      'high = [__import__("fcntl").fcntl(n, 0, 200) for n in fds]\n'
                      'for i, n in enumerate(high): os.dup2(n, 3 + i)\n'
                      'os.closerange(3 + len(high), 1024)\n'
                      'os.environ["LISTEN_PID"] = str(os.getpid())\n'
                      'os.execvp(sys.argv[2], sys.argv[2:])')
            command = [sys.executable, '-c', script, ','.join(map(str, passed)), *command]
        self.process = subprocess.Popen(command, env=environment, pass_fds=passed, stdin=subprocess.DEVNULL,
                                        stdout=test.log, stderr=test.log)
        self._pidfd = os.pidfd_open(self.process.pid)
        self._watch = GLib.io_add_watch(self._pidfd, GLib.PRIORITY_DEFAULT, GLib.IO_IN, self._on_exit)

    @property
    def pid(self):
        return self.process.pid

    def _on_exit(self, *_):
        self._watch = 0
        return False

    def wait_ready(self):
        def is_ready():
            if self.process.poll() is not None:
                raise AssertionError(f'vfiod ended with {self.process.returncode} instead of getting ready')
            return any(m.get('READY') == '1' for m in self._test.manager.messages)
        wait(is_ready, 'READY=1')
        return self

    def wait_exit(self, timeout=WAIT_TIMEOUT):
        wait(lambda: self.process.poll() is not None, 'the daemon ends', timeout)
        self._done()
        return self.process.returncode

    def kill(self, settle=True):
        """As a crash would. settle: what its workers are in ends before. A busy bus may hear of it late, and the next daemon must not find the name taken."""
        connection = connect(self._test.bus.address)

        def owner():
            with contextlib.suppress(dbus.DBusException):
                return connection.get_name_owner(NAME)

        before = owner()
        self.process.kill()
        self.process.wait(10)
        if settle:
            self._test.kernel.settle()
        wait(lambda: before is None or owner() != before, 'the bus takes its name back')
        connection.close()
        self._test.manager.hear_all()  # as systemd does before it starts the next one
        self._done()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            return self.wait_exit()
        self._done()
        return self.process.returncode

    def _done(self):
        if self._pidfd >= 0:
            if self._watch:
                GLib.source_remove(self._watch)
            os.close(self._pidfd)
            self._pidfd = -1

    def fds(self):
        return sorted(os.listdir(f'/proc/{self.pid}/fd'), key=int)

    def files(self):
        return files_of(self.pid)

    def children(self):
        """The spawner and the workers."""
        return [int(pid) for pid in pathlib.Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text().split()]

    def workers(self):
        """Those that have not ended by now."""
        found = []
        for pid in self.children():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if '--worker' in pathlib.Path(f'/proc/{pid}/cmdline').read_text().split('\0'):
                    found.append(pid)
        return found


class Claim:
    """What Acquire gave to a client. fds are owned by this object."""

    def __init__(self, client, path, result, fds):
        self.client, self.path = client, str(path)
        self.result = {str(k): v for k, v in result.items()}
        self.fds = {str(name): fd.take() for name, fd in fds}
        self.id = self.path.rsplit('/', 1)[1]

    def close(self, *names):
        for name in names or list(self.fds):
            os.close(self.fds.pop(name))

    def properties(self):
        return self.client.properties(self.path, 'Claim')

    @property
    def state(self):
        """"gone" when there is no such object any more."""
        try:
            return str(self.client.get(self.path, 'Claim', 'State'))
        except dbus.DBusException as e:
            if e.get_dbus_name() in ('org.freedesktop.DBus.Error.UnknownObject', ERROR + 'NoSuchClaim'):
                return 'gone'
            raise


class Pending:
    """A call whose answer has not been waited for."""

    def __init__(self):
        self.value = self.error = None
        self.done = False

    def reply(self, *value):
        self.value, self.done = value, True

    def fail(self, error):
        self.error, self.done = error, True


class Client:
    """A program on the bus, by python3-dbus as it is."""

    def __init__(self, address):
        self.connection = connect(address)
        self.connection.set_exit_on_disconnect(False)
        self.events = []  # (kind, path, …) of every signal of the daemon
        self._connected = True
        for member, interface in (('InterfacesAdded', OBJECT_MANAGER), ('InterfacesRemoved', OBJECT_MANAGER),
                                  ('PropertiesChanged', PROPERTIES)):
            self.connection.add_signal_receiver(self._on_signal, member, interface, bus_name=None,
                                                path_keyword='path', member_keyword='member')

    def close(self):
        if self._connected:
            self._connected = False
            self.connection.close()

    def _on_signal(self, *arguments, path, member):
        if member == 'PropertiesChanged':
            self.events.append((member, str(path), {str(k): v for k, v in arguments[1].items()}))
        else:
            self.events.append((member, str(arguments[0]), {}))

    def seen(self, member, path, **properties):
        return any(e[0] == member and e[1] == path and all(e[2].get(k) == v for k, v in properties.items())
                   for e in self.events)

    def call(self, path, interface, method, signature, *arguments, timeout=CALL_TIMEOUT):
        return self.connection.call_blocking(NAME, path, interface, method, signature, arguments, timeout)

    def manager(self, method, signature, *arguments):
        return self.call(ROOT_PATH, NAME + '.Manager', method, signature, *arguments)

    def get(self, path, interface, name):
        return self.call(path, PROPERTIES, 'Get', 'ss', f'{NAME}.{interface}', name)

    def properties(self, path, interface):
        return {str(k): v for k, v in self.call(path, PROPERTIES, 'GetAll', 's', f'{NAME}.{interface}').items()}

    def device(self, device):
        return self.properties(device_path(device.name), 'Device')

    def find(self, device):
        """As device(); nothing while the daemon does not know it, as between a removal and what is plugged in then."""
        try:
            return self.device(device)
        except dbus.DBusException as e:
            if e.get_dbus_name() == 'org.freedesktop.DBus.Error.UnknownObject':
                return {}
            raise

    def objects(self):
        return {str(path): {str(i): p for i, p in interfaces.items()} for path, interfaces in
                self.call(ROOT_PATH, OBJECT_MANAGER, 'GetManagedObjects', '').items()}

    def acquire(self, *devices, **options):
        names = [getattr(d, 'name', d) for d in devices]
        return Claim(self, *self.manager('Acquire', 'asa{sv}', names, options))

    def acquire_later(self, *devices, **options):
        names = [getattr(d, 'name', d) for d in devices]
        pending = Pending()
        self.connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', 'Acquire', 'asa{sv}', (names, options),
                                   lambda *r: pending.reply(Claim(self, *r)), pending.fail, CALL_TIMEOUT)
        return pending

    def add(self, claim, *devices, **options):
        """The result; the files join those of the claim."""
        names = [getattr(d, 'name', d) for d in devices]
        result, fds = self.manager('AddDevices', 'sasa{sv}', getattr(claim, 'id', claim), names, options)
        claim.fds.update({str(name): fd.take() for name, fd in fds})
        return {str(k): v for k, v in result.items()}

    def add_later(self, claim, *devices, **options):
        names = [getattr(d, 'name', d) for d in devices]
        pending = Pending()
        self.connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', 'AddDevices', 'sasa{sv}',
                                   (claim.id, names, options), pending.reply, pending.fail, CALL_TIMEOUT)
        return pending

    def release_devices(self, claim, *devices):
        names = [getattr(d, 'name', d) for d in devices]
        self.manager('ReleaseDevices', 'sasa{sv}', getattr(claim, 'id', claim), names, {})

    def plan(self, *devices, **options):
        names = [getattr(d, 'name', d) for d in devices]
        return json.loads(self.manager('Plan', 'asa{sv}', names, options))

    def release(self, claim):
        self.manager('Release', 'sa{sv}', claim.id, {})

    def queued_owners(self):
        """Who has the name of the daemon, or will have it, as unique names."""
        return self.connection.call_blocking('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'ListQueuedOwners',
                                             's', (NAME,), CALL_TIMEOUT)

    def forge(self, destination, path, interface, member, *arguments):
        """Sends a signal that is somebody else's to one connection, and waits until the bus has seen it."""
        signal = dbus.lowlevel.SignalMessage(path, interface, member)
        signal.set_destination(destination)
        signal.append(*arguments)
        self.connection.send_message(signal)
        self.connection.get_name_owner('org.freedesktop.DBus')


class VfiodTestCase(unittest.TestCase):
    host_options = {}
    sockets = ()  # names of the Varlink sockets on which systemd would listen for the daemon
    bus_policy = ''  # XML that is appended to the configuration of the bus

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            self._show_log()
        if hasattr(self, 'log'):
            self.log.close()

    def _show_log(self):
        if hasattr(self, 'log'):
            self.log.seek(0)
            print(f'--- log of vfiod in {self.id()} ---\n{self.log.read().decode(errors="replace")}---',
                  file=sys.stderr)

    def setUp(self):
        faulthandler.dump_traceback_later(TEST_TIMEOUT, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.ended_threads = []
        self.addCleanup(setattr, threading, 'excepthook', threading.excepthook)
        threading.excepthook = self._on_ended_thread
        self.log = tempfile.TemporaryFile()
        log_watch = DirectoryWatch(f'/proc/self/fd/{self.log.fileno()}')
        self.addCleanup(log_watch.close)
        temporary = tempfile.TemporaryDirectory(prefix='vfiod-test-run.')
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        os.chmod(self.directory, 0o755)  # clients of other users reach the bus
        for name in ('state', 'state/claims', 'policy.d'):
            os.mkdir(f'{self.directory}/{name}', 0o700)
        watch = DirectoryWatch(f'{self.directory}/state/claims')
        self.addCleanup(watch.close)
        self.host = Host(**self.host_options)
        self.addCleanup(self.host.close)
        self.kernel = self.host.kernel
        self.kernel.on_change = GLib.MainContext.default().wakeup
        self.bus = PrivateBus(self.directory, self.log, self.bus_policy)
        self.addCleanup(self._stop_bus)
        self.manager = ServiceManager(self.directory)
        self.addCleanup(self.manager.close)
        self.listeners = {name: self._listen(name) for name in self.sockets}
        self.daemon = None
        self._clients = []
        self.addCleanup(self._check_after)
        self.set_policy([self.rule()])

    def _on_ended_thread(self, arguments):
        self.ended_threads.append(f'{arguments.thread}: {arguments.exc_value!r}')
        threading.__excepthook__(arguments)

    def _listen(self, name):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(self.socket_path(name))
        os.chmod(self.socket_path(name), 0o666)
        listener.listen(4096)
        return listener

    def socket_path(self, name='varlink'):
        return f'{self.directory}/{name}'

    def _stop_bus(self):
        for client in self._clients:
            client.close()
        self.bus.stop()

    def _check_after(self):
        """What holds after every test."""
        status = self.daemon.stop() if self.daemon else 0
        self.log.seek(0)
        log = self.log.read().decode(errors='replace')
        for bad in ('Assertion', 'AddressSanitizer', 'LeakSanitizer', 'runtime error', 'umockdev', 'fd-ledger'):
            self.assertNotIn(bad, log)
        self.assertEqual(status, 0, 'exit status of the daemon')
        self.assertEqual(self.kernel.unexpected, [], 'writes that no kernel would take')
        self.assertEqual(self.ended_threads, [], 'threads of the test that ended with an exception')

    # --- pieces ---------------------------------------------------------------------------------------------------

    def rule(self, name='test', effect='allow', user=None, device='*', **more):
        return {'name': name, 'effect': effect, 'who': {'user': os.getuid() if user is None else user},
                'what': {'device': device}, **more}

    def set_policy(self, rules, text=None, **more):
        path = f'{self.directory}/policy.d/50-test.json'
        pathlib.Path(path).write_text(json.dumps({'rules': rules, **more}, indent=2) if text is None else text)
        os.chmod(path, 0o644)
        return path

    def daemon_arguments(self):
        return [f'--state-directory={self.directory}/state', f'--policy-directory={self.directory}/policy.d',
                f'--cdi-directory={self.directory}/cdi', f'--passwd={self.directory}/passwd']

    def start(self, *arguments, **options):
        self.daemon = Daemon(self, arguments, **options).wait_ready()
        return self.daemon

    def client(self):
        client = Client(self.bus.address)
        self._clients.append(client)
        return client

    def tool(self, *command, user=None, **options):
        """Starts busctl or gdbus, unmodified, as another user if need be."""
        environment = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'UMOCKDEV_DIR')}
        environment['DBUS_SYSTEM_BUS_ADDRESS'] = self.bus.address
        if user is not None:
            options.update(user=user, group=user, extra_groups=[])
        process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, cwd='/', **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def busctl(self, *arguments, user=None):
        """(exit status, output)"""
        process = self.tool('busctl', f'--address={self.bus.address}', *arguments, user=user)
        output, _ = process.communicate(timeout=CALL_TIMEOUT)
        return process.returncode, output

    def vfioctl(self, *arguments):
        """(exit status, output)"""
        process = self.tool(os.environ['VFIOCTL'], *arguments)
        output, _ = process.communicate(timeout=CALL_TIMEOUT)
        return process.returncode, output

    def run_on_host(self, *command, status=0, environment=(), **options):
        """What a program on the pretended host prints, and that its exit status is this."""
        environment = {**preload_environment(self.host), 'DBUS_SYSTEM_BUS_ADDRESS': self.bus.address, 'LC_ALL': 'C.UTF-8',
                       **dict(environment)}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=err,
                                       **{'stdin': subprocess.DEVNULL, **options})
            # The pretended kernel answers it from our main loop, which its end does not wake.
            tick = GLib.timeout_add(50, lambda: True)
            try:
                wait(lambda: process.poll() is not None, f'{command} ends')
            finally:
                GLib.source_remove(tick)
                process.kill()
            out.seek(0)
            err.seek(0)
            self.error_output = err.read().decode()
            self.assertEqual(process.returncode, status, self.error_output)
            return out.read().decode()

    def log_text(self):
        """The daemon writes where the file's offset is, so it stays."""
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors='replace')

    def log_lines(self, *words):
        """Lines of the daemon's log that have all these words."""
        return [line for line in self.log_text().splitlines() if all(word in line for word in words)]

    def wait_logged(self, *words):
        """A reply may be there before the line about it."""
        return wait(lambda: self.log_lines(*words), f'the log has a line with {words}')

    def make_cgroup(self, hierarchy, *names):
        """Control groups, each below the one before, which the daemon sees. The path of the last."""
        os.makedirs(f'{self.host.root}/sys/fs', exist_ok=True)
        os.symlink('/sys/fs/cgroup', f'{self.host.root}/sys/fs/cgroup')
        path = hierarchy
        for name in names:
            path /= name
            path.mkdir()
            self.addCleanup(path.rmdir)
        return path

    def records(self):
        """The records of claims as names of files, those in slots as well."""
        names = os.listdir(f'{self.directory}/state/claims')
        names = [name for name in names if not name.startswith('.#') and name != 'slots']  # which is being written
        return sorted({*names, *(json.loads(text)['id'] + '.json' for text in self.slots())})

    def slots(self):
        """The records in slots, as bytes."""
        try:
            data = pathlib.Path(f'{self.directory}/state/claims/slots').read_bytes()
        except FileNotFoundError:
            return []
        return [text for text in (newest_half(data[i:i + SLOT_SIZE]) for i in range(0, len(data), SLOT_SIZE)) if text]

    def unpack_slots(self):
        """Makes each record a file of its own, which a test can look at and change. Not while the daemon runs."""
        for text in self.slots():
            pathlib.Path(f'{self.directory}/state/claims/{json.loads(text)["id"]}.json').write_bytes(text)
        pathlib.Path(f'{self.directory}/state/claims/slots').unlink(missing_ok=True)

    # --- assertions -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def refused(self, error, *words):
        """The block must fail with this error of ours, and its message must have all the words."""
        with self.assertRaises(dbus.DBusException) as caught:
            yield caught
        e = caught.exception
        self.assertEqual(e.get_dbus_name(), error if '.' in error else ERROR + error, e.get_dbus_message())
        for word in words:
            self.assertIn(word, e.get_dbus_message())

    def assert_untouched(self, before):
        """No device changed, nothing was written, no claim and no record is left."""
        self.assertEqual(self.host.binding(), before)
        wait(lambda: self.records() == [], 'the record goes')  # just after the answer

    def wait_gone(self, claim):
        """The record goes last."""
        wait(lambda: claim.id + '.json' not in self.records(), f'claim {claim.id} ends')
        self.assertEqual(claim.state, 'gone')


def needs_root(function):
    return unittest.skipUnless(os.getuid() == 0, 'only root can be other users')(function)


class TapResult(unittest.TestResult):
    """TAP, so that every test function counts and a skip is seen with its reason."""

    def __init__(self):
        super().__init__()
        self.numbers = collections.Counter()

    def _line(self, verdict, test, remark=''):
        self.numbers['all'] += 1
        name = test.id().removeprefix('__main__.')
        print(f'{verdict} {self.numbers["all"]} - {name}{remark}', flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line('ok', test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line('ok', test, f' # SKIP {reason}')

    def _bad(self, test, error):
        self._line('not ok', test)
        print(self._exc_info_to_string(error, test), file=sys.stderr, flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._bad(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self._bad(subtest, error)

    def addError(self, test, error):
        super().addError(test, error)
        self._bad(test, error)


PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def children_of(parent):
    """The pids of its children."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(')')[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def reap(until=None):
    """Waits for every child, or until that one ends; its exit status."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return None
        if pid == until:
            return os.waitstatus_to_exitcode(status)


def leave_nobody_behind():
    """Returns in a child. Its parent waits for it and kills what it has left behind, however it ends: a test that runs out
    of time ends at once, and its daemon and bus would keep the pipe on which everybody waits for the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1) < 0:
        raise OSError(ctypes.get_errno(), 'prctl')
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child has it as well
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    status = reap(until=child)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while left := children_of(os.getpid()):  # theirs become ours
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        os.wait()
    os._exit(status if status >= 0 else 128 - status)


def main():
    """Runs the tests of the calling file: all, or those named on the command line."""
    leave_nobody_behind()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    loader = unittest.TestLoader()
    module = sys.modules['__main__']
    suite = loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)
    result = TapResult()
    suite.run(result)
    print(f'1..{result.numbers["all"]}', flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)

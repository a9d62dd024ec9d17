# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel of a pretended host: what PCI core, driver core, IOMMU groups and VFIO do when somebody writes to sysfs.

A tree of plain files stands for /sys and /dev (umockdev's layout). tests/fakes/fake-kernel.c, loaded into the daemon,
hands over every write below /sys, every open and every ioctl of a VFIO node, and waits. Here the tree is changed and
announced in the order that a real kernel keeps, and only then comes the answer.

Whatever a test wants to go wrong is a fault: fail() answers with an errno, ignore() says success and does nothing
(as drivers_probe does), hold() does not answer until the test lets go (a write that sleeps in D state), before() runs
code of the test in the middle (an unplug). Unknown attributes are refused and remembered in `unexpected`: a test that
ends with any of them fails.

One lock stands for all of the kernel's. No fault is waited for under it.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import resource
import select
import shutil
import socket
import struct
import threading

from fake_netlink import FakeNetlink, Network
from uevents import UeventSender

VERB_WRITE, VERB_OPEN, VERB_IOCTL, VERB_FDINFO, VERB_GIVE, VERB_SETXATTR, VERB_CLOSE, VERB_READ = 1, 2, 3, 4, 5, 6, 7, 8
REQUEST = struct.Struct('=IIQII')
REPLY = struct.Struct('=qiI')
PF_EXITING = 0x4  # include/linux/sched.h
PACKET_MAX = 16384

VFIO_GET_API_VERSION = 0x3B64
VFIO_CHECK_EXTENSION = 0x3B65
VFIO_SET_IOMMU = 0x3B66
VFIO_GROUP_GET_STATUS = 0x3B67
VFIO_GROUP_SET_CONTAINER = 0x3B68
VFIO_GROUP_GET_DEVICE_FD = 0x3B6A
VFIO_NOIOMMU_IOMMU = 8
NOIOMMU_PARAMETER = '/sys/module/vfio/parameters/enable_unsafe_noiommu_mode'
FIRST_NOIOMMU_GROUP = 900
VFIO_IOMMU_GET_INFO = 0x3B70
VFIO_DEVICE_FEATURE = 0x3B75
VFIO_DEVICE_BIND_IOMMUFD = 0x3B76
VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_REGION_INFO = 0x3B6B, 0x3B6C
VFIO_PCI_CONFIG_REGION = 7
VHOST_VDPA_GET_DEVICE_ID = 0x8004AF70
VFIO_DEVICE_ATTACH_IOMMUFD_PT = 0x3B77
VFIO_DMA_CC_IOMMU = 4
IOMMU_IOAS_ALLOC = 0x3B81
IOMMU_IOAS_IOVA_RANGES = 0x3B84
IOMMU_OPTION = 0x3B87
IOMMU_VFIO_IOAS = 0x3B88
IOMMU_GET_HW_INFO = 0x3B8A
IOMMU_OPTION_RLIMIT_MODE = 0
GROUP_VIABLE = 1

MAJOR_VFIO_GROUP, MAJOR_VFIO_DEVICE, MAJOR_VHOST_VDPA, MAJOR_MISC = 241, 242, 243, 10
MINOR_VFIO, MINOR_IOMMU = 196, 126

VFIO_DRIVERS = {'vfio-pci', 'mlx5_vfio_pci', 'virtio_vfio_pci'}
NATIVE = 'vgpu-host'  # registers its devices with VFIO by itself, and has them enabled all the time
VHOST_VDPA = 'vhost_vdpa'
KEPT_ATTRIBUTES = ('enable', 'reset_method', 'power_state', 'dev')  # which the daemon keeps open
VFIO_PLATFORM = 'vfio-platform'
# Drivers that leave DMA ownership alone (kernel: driver_managed_dma).
MANAGED_DRIVERS = VFIO_DRIVERS | {NATIVE, VFIO_PLATFORM, 'pcieport', 'pci-stub'}

IN_ATTRIB, IN_CLOSE, IN_OPEN = 0x4, 0x18, 0x20
_libc = ctypes.CDLL(None, use_errno=True)


class Refuse(Exception):
    def __init__(self, error):
        super().__init__(errno.errorcode[error])
        self.error = error


class Caps:
    """What a device can do together with its IOMMU: an Intel one without PASID, unless a test says otherwise."""

    def __init__(self):
        self.hw_type, self.vtd_cap, self.vtd_ecap = 1, 1 << 34, 0
        self.pasid_bits, self.hw_capabilities = 0, 0
        self.iova = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]
        self.page_sizes = 0x1000 | 1 << 21
        self.enforces_coherency = True
        self.migration = None  # flags of VFIO_DEVICE_FEATURE_MIGRATION
        self.features = set()  # that answer to a probe


class Device:
    """One PCI function, or a device of another bus, present or unplugged. address: what the kernel calls it."""

    def __init__(self, address, path, group, bus='pci'):
        self.address, self.path, self.group, self.bus = address, path, group, bus
        self.name = f'{bus}:{address}'
        self.driver = None
        self.host_driver = None  # the driver whose id table has it
        self.override = None
        self.reset_methods = ''
        self.is_bridge = False
        self.noiommu = False  # its group is one that VFIO made up
        self.compat = False  # it is open, with an iommufd as its group's container
        self.vfio_index = None
        self.enable = 0
        self.resets = 0
        self.present = True
        self.ids = {}
        self.make_function = None  # makes the virtual function with this number
        self.makes_functions = True  # its driver has sriov_configure
        self.functions = []
        self.mdev_parent, self.mdev_type = None, None
        self.physfn = None
        self.vf_token = None  # of a physical function, as bytes
        self.network = Network()  # what its physical function's card keeps for it
        self.opened = False  # by an ioctl: with the last file it is closed
        self.silent = False  # what is read from it is all ones
        self.caps = Caps()
        self.lock = threading.RLock()  # the kernel's device lock: held while an unbind waits; taken before the other

    def __repr__(self):
        return f'<{self.address} {self.driver}>'

    @property
    def idle_enable(self):
        return int(self.driver == NATIVE)

    @property
    def node(self):
        return f'/dev/{"vhost-vdpa-" if self.bus == "vdpa" else "vfio/devices/vfio"}{self.vfio_index}'


class MdevParent:
    """A driver that makes mediated devices of types which take so many of its ports each, as mtty does."""

    def __init__(self, path, ports, types):
        self.path, self.ports, self.types = path, ports, types
        self.make = None  # a mediated device of this UUID and type


class Sleeper:
    """A process in the sleep that no signal ends, of which the kernel has no simple one to offer: a tracer holds it up at its
    exit, so that it can be killed and does not go. By the thread that began it. Not a child of ours: who waits for its end
    would see the tracer's stops."""

    SEIZE, INTERRUPT, DETACH, TRACE_EXIT, WALL = 0x4206, 0x4207, 17, 0x40, 0x40000000
    _ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    _ptrace.argtypes, _ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long

    def __init__(self, pid):
        self.pid = pid
        self.holds = not self._is_child() and self._ptrace(self.SEIZE, pid, 0, self.TRACE_EXIT) == 0

    def _is_child(self):
        """Or gone."""
        try:
            with open(f'/proc/{self.pid}/stat', 'rb') as stat:
                return int(stat.read().rpartition(b')')[2].split()[1]) == os.getpid()
        except OSError:
            return True

    def wake(self):
        if not self.holds:
            return
        self._ptrace(self.INTERRUPT, self.pid, 0, 0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, self.WALL)
        self._ptrace(self.DETACH, self.pid, 0, 0)


class Gate:
    """A write that does not come back until it is let go. A process that is killed meanwhile ends after that."""

    def __init__(self, kernel):
        self._kernel = kernel
        self._open = threading.Event()
        self.entered = 0
        self._error, self._effect = 0, True

    def let_go(self, error=0, effect=True):
        self._error, self._effect = error, effect
        self._open.set()

    def pass_through(self):
        self._kernel.put_to_sleep()
        with self._kernel.changed:
            self.entered += 1
            self._kernel.notify()
        self._open.wait()
        if self._error:
            raise Refuse(self._error)
        return self._effect


class Fault:
    def __init__(self, attribute, device, data, times, driver, action):
        self.attribute, self.device, self.data, self.driver = attribute, device, data, driver
        self.left = times
        self.action = action  # () -> bool: shall the write have its effect?
        self.hits = 0

    def wants(self, attribute, device, data, driver):
        return (self.left != 0 and self.attribute == attribute
                and self.device in (None, device and device.address)
                and self.data in (None, data)
                and self.driver in (None, driver))


# (sh) in a message of D-Bus: length, name, NUL, padding, index.
GRANTED = re.compile(rb'(device:[^\0]+|group:\d+|iommufd|container|lifeline)\0')


def compat_file(device):
    """The file of a device that was opened with an iommufd as its group's container. The real one has no name."""
    return f'/dev/vfio/.compat-{device.address}'


class Ledger:
    """Which open file of a node left the daemon, and for which claim. Each open has a number, which is the offset of the
    file (see tests/fakes/fake-kernel.c). It may leave once, in the message that grants a claim, under the name of what
    the node is, and only if nobody has opened the node since: then it was opened for this claim."""

    def __init__(self, kernel):
        self._kernel = kernel
        self._paths = []  # by the number of the open, from 1
        self._given = {}  # number -> claim
        self.n_given = 0

    def open(self, path):
        self._paths.append(path)
        return len(self._paths)

    @staticmethod
    def _read(message, n_fds):
        """(claim, devices, [name of each fd])."""
        if message.startswith(b'{'):
            answer = json.loads(message[:message.index(b'\0')])['parameters']
            names = {fd['fileDescriptorIndex']: fd['name'] for fd in answer['fds']}
            return answer['claim'], answer['devices'], [names[i] for i in range(n_fds)]
        claim = re.search(rb'/org/vfiod1/claim/(\w+)\0', message)
        found = list(GRANTED.finditer(message))[-n_fds:]
        names = {struct.unpack_from('<I', message, m.end() + -m.end() % 4)[0]: m[1].decode() for m in found}
        devices = re.findall(rb'\0((?:pci|vdpa|mdev|platform):[^\0]+)\0', message)
        return claim and claim[1].decode(), [d.decode() for d in devices], [names.get(i, '') for i in range(n_fds)]

    def _expected(self, name, devices):
        """The paths that may have this name in a claim of these devices."""
        mine = [d for d in self._kernel.devices.values() if d.name in devices]
        if name.startswith('device:'):
            return {path for d in mine if name == f'device:{d.name}'
                    for path in (d.node, f'/dev/vfio/noiommu-{d.group}', compat_file(d))}
        if name.startswith('group:'):
            return {f'/dev/vfio/{d.group}' for d in mine if name == f'group:{d.group}'}
        return {'iommufd': {'/dev/iommu'}, 'container': {'/dev/vfio/vfio'}}.get(name, set())

    def _check(self, claim, devices, name, number, path):
        shared = path in ('/dev/iommu', '/dev/vfio/vfio')  # tells nothing about a device, and may be ready before
        if not claim:
            return 'leaves for no claim'
        if path not in self._expected(name, devices):
            return f'leaves as {name} with {devices}'
        if not 0 < number <= len(self._paths) or self._paths[number - 1] != path:
            return 'was not opened here'
        if number in self._given:
            return f'has left before, for {self._given[number]}'
        if not shared and path in self._paths[number:]:
            return 'was opened for an earlier claim'
        return None

    @staticmethod
    def _split(fds):
        return [line.split(' ', 1) for line in fds.splitlines()]

    def take_back(self, fds):
        for fd in self._split(fds):
            if len(fd) == 2:
                self._given.pop(int(fd[0]), None)

    def give(self, fds, message):
        """What is wrong with it."""
        fds = self._split(fds)
        if message.startswith(b'FDSTORE=1'):  # systemd keeps it, and gives it to nobody
            kept = re.search(rb'FDNAME=groups-\w+$', message) and re.fullmatch(r'/dev/vfio/\d+', fds[0][-1])
            return [] if kept else [f'fd-ledger: {fds} is kept by {message!r}']
        try:
            claim, devices, names = self._read(message, len(fds))
        except (ValueError, KeyError, IndexError, struct.error) as e:
            return [f'fd-ledger: {fds} leave in {message!r}: {e!r}']
        wrong = []
        for name, fd in zip(names, fds):
            if len(fd) < 2:
                continue
            number, path = int(fd[0]), fd[1]
            problem = self._check(claim, devices, name, number, path)
            if problem:
                wrong.append(f'fd-ledger: {path} for claim {claim} {problem}')
            self._given[number] = claim
            self.n_given += 1
        return wrong


class Nodes:
    """The files in /dev. Who has one open is told by flocks: the preload takes a shared one on every open file, and it
    goes with the last reference, in whatever process that is. Of each node a file is open here that has none: who could
    lock it alone is alone. It is opened under another name before anybody can watch the node, and has to stay open for
    as long as the node may be asked about. inotify only says when to look again.

    /proc/locks would tell, too, but it is read in pieces: it misses a lock when another one goes meanwhile."""

    def __init__(self, root, notify):
        self._root = root
        self._files = {}  # path -> our file of the node that is there, or was there last
        self._former = []  # of those before, which may be open still
        self._notify = notify
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def _listen(self):
        poll = select.poll()
        for fd in (self._inotify, self._stop_read):
            poll.register(fd, select.POLLIN)
        again = []  # ms. The lock goes just after the close was announced, and nothing announces that
        while True:
            ready = poll.poll(again.pop(0) if again else None)
            again = [5, 25, 125, 625] if ready else again
            if any(fd == self._stop_read for fd, _ in ready):
                return
            with contextlib.suppress(BlockingIOError):
                os.read(self._inotify, 65536)
            self._notify()

    def close(self):
        os.write(self._stop_write, b'x')
        self._thread.join()
        for fd in (self._inotify, self._stop_read, self._stop_write, *self._files.values(), *self._former):
            os.close(fd)

    def real(self, path):
        return self._root + path

    def _number_link(self, path):
        return self.real('/dev/.node/' + path[len('/dev/'):].replace('/', '_'))

    def add(self, path, major, minor, mode):
        real = self.real(path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        os.makedirs(self.real('/dev/.node'), exist_ok=True)
        self.set_number(path, major, minor)
        if path in self._files:
            self._former.append(self._files[path])
        # A fresh inode, and it appears complete: the daemon may be watching the directory.
        fresh = self.real('/dev/.node/fresh')
        self._files[path] = os.open(fresh, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        os.chmod(fresh, mode)
        _libc.inotify_add_watch(self._inotify, fresh.encode(), IN_ATTRIB | IN_OPEN | IN_CLOSE)
        # A link of its own: the end of a node is announced when the last file of that link is closed.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(real)
        os.link(fresh, real)
        os.unlink(fresh)

    def set_number(self, path, major, minor):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._number_link(path))
        os.symlink(f'{major}:{minor}', self._number_link(path))

    def remove(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.real(path))

    def is_open(self, path):
        """Also when it was removed since."""
        fd = self._files.get(path)
        if fd is None:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False

    def open(self, path, flags=os.O_RDWR):
        """Opens a node as another program on the host would; the test closes it."""
        fd = os.open(self.real(path), flags | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)
        return fd


SETTLE_TIMEOUT = 0.5  # seconds


class FakeKernel:
    def __init__(self, root, cdev=True, group=True):
        self.root = root
        self.cdev, self.group = cdev, group
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self.on_change = lambda: None
        self.uevents = UeventSender(root)
        self.nodes = Nodes(root, self._announce_change)
        self.devices = {}  # address -> Device
        self.mdev_parents = []
        self.drivers = set()
        self._group_registered = {}  # group -> number of vfio devices
        self._opening = set()
        self._faults = []
        self._n_served = 0  # requests that are being served
        self.writes = []  # (path, text) of every write, in order
        self.ioctls = []  # (path, request, argument, data)
        self.unexpected = []
        self.ledger = Ledger(self)
        self._closed = False
        self.rlimit_modes = []
        self.iommufd_container = False  # /dev/vfio/vfio is an iommufd
        self.type1_next = 0  # where the list of VFIO_IOMMU_GET_INFO goes on
        self.fail_ioctl = {}  # number -> errno, of every file
        self._attached = None  # the device that an address space or a container has
        self.iommu_types = {1, 3}  # what a container offers: VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU
        self._served = threading.local()
        self._address = os.path.join(root, 'kernel')
        self.netlink = FakeNetlink(self, self._address + '.netlink')
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(self._address)
        os.chmod(self._address, 0o666)
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    # --- the wire -------------------------------------------------------------------------------------------------

    @property
    def environment(self):
        return {'UMOCKDEV_DIR': self.root, 'VFIOD_FAKE_KERNEL': self._address}

    def close(self):
        with self._lock:
            for fault in self._faults:
                gate = getattr(fault, 'gate', None)
                if gate:
                    gate.let_go(errno.EIO)
            self._faults.clear()
            self._closed = True
            self.on_change = lambda: None
            self.changed.notify_all()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.netlink.close()
        self.nodes.close()
        self.uevents.close()

    def notify(self):
        self.changed.notify_all()
        self.on_change()

    def _announce_change(self):
        with self.changed:
            for device in self.devices.values():  # the device goes with the last file of its group
                group = f'/dev/vfio/{self._group_node(device)}'
                if device.opened and not any(map(self.nodes.is_open, (device.node, group))):
                    device.opened = False
                    self.set_enable(device, device.idle_enable)
                if device.noiommu and device.enable and not self.nodes.is_open(f'/dev/vfio/noiommu-{device.group}'):
                    self.set_enable(device, 0)
                if device.compat and compat_file(device) not in self._opening \
                        and not self.nodes.is_open(compat_file(device)):
                    device.compat = False
                    self.set_enable(device, 0)
            self.notify()

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                self._n_served += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def settle(self):
        """What processes that are gone have written is done, as in a kernel: a write is over before its process is. But
        for what waits there for something else."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as last:
            last.connect(self._address)  # whoever connected before is served by now
        with self.changed:
            self.changed.wait_for(lambda: self._n_served == 0, SETTLE_TIMEOUT)

    # A process whose call a thread serves sleeps in a gate until it has its answer.

    def begin_call(self, connection):
        """Returns the pid of the process at the other end."""
        self._served.sleeper = None
        self._served.pid, = struct.unpack('i8x', connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return self._served.pid

    def put_to_sleep(self):
        self._served.sleeper = Sleeper(self._served.pid)

    def is_abandoned(self):
        """Did the process end without its answer, for nobody held it up? Its files are closed then."""
        if self._served.sleeper and self._served.sleeper.holds:
            return False
        try:
            with open(f'/proc/{self._served.pid}/stat', 'rb') as stat:
                return bool(int(stat.read().rpartition(b')')[2].split()[6]) & PF_EXITING)
        except OSError:
            return True

    def end_call(self):
        if self._served.sleeper:
            self._served.sleeper.wake()
        self._served.sleeper = None

    def _serve(self, connection):
        self.begin_call(connection)
        try:
            self._answer(connection)
        finally:
            self.end_call()
            with self.changed:
                self._n_served -= 1
                self.changed.notify_all()

    def _answer(self, connection):
        with connection:
            packet = connection.recv(PACKET_MAX)
            if len(packet) < REQUEST.size:
                return
            verb, request, argument, path_size, data_size = REQUEST.unpack_from(packet)
            path = packet[REQUEST.size:REQUEST.size + path_size].decode()
            data = packet[REQUEST.size + path_size:REQUEST.size + path_size + data_size]
            result, error, answer = 0, 0, b''
            try:
                if verb == VERB_WRITE:
                    self._write(path, data)
                    result = len(data)
                elif verb == VERB_OPEN:
                    result = self._open(path)
                elif verb == VERB_IOCTL:
                    result, answer = self._ioctl(path, request, argument, data)
                    self._close(path)  # whoever was killed in the middle closes it behind that
                elif verb == VERB_FDINFO:
                    answer = self._fdinfo(path)
                elif verb == VERB_GIVE:
                    with self.changed:
                        if request:
                            self.ledger.take_back(path)
                        else:
                            self.unexpected += self.ledger.give(path, data)
                elif verb == VERB_READ:
                    answer = self._read_device(path, request, argument)
                elif verb == VERB_CLOSE:
                    self._close(path)
                elif verb == VERB_SETXATTR:
                    self._run_faults('setxattr', None, path)
            except Refuse as e:
                error = e.error
            with contextlib.suppress(OSError):  # the writer may have been killed; what it wrote is done nevertheless
                connection.send(REPLY.pack(result, error, len(answer)) + answer)
                self.end_call()
                if verb == VERB_OPEN and not error:
                    connection.recv(1)  # it hangs up when the file is open and locked
            if verb == VERB_OPEN and not error:
                with self.changed:
                    self._opening.discard(path)
                    self.notify()

    # --- faults ---------------------------------------------------------------------------------------------------

    def _fault(self, attribute, action, device=None, data=None, times=-1, driver=None):
        """attribute: the name of a file, or "open", "ioctl" or "setxattr" (data: the node). device: an address. driver: of bind and
        unbind, and the one that drivers_probe would choose. times: -1 for always."""
        fault = Fault(attribute, device, data, times, driver, action)
        with self._lock:
            self._faults.append(fault)
        return fault

    def fail(self, attribute, device=None, error=errno.EBUSY, **criteria):
        def action():
            raise Refuse(error)
        return self._fault(attribute, action, device, **criteria)

    def ignore(self, attribute, device=None, **criteria):
        return self._fault(attribute, lambda: False, device, **criteria)

    def before(self, attribute, callback, device=None, **criteria):
        def action():
            callback()
            return True
        return self._fault(attribute, action, device, **{'times': 1, **criteria})

    def hold(self, attribute, device=None, **criteria):
        gate = Gate(self)
        self._fault(attribute, gate.pass_through, device, **{'times': 1, **criteria}).gate = gate
        return gate

    def heal(self):
        with self._lock:
            self._faults = [f for f in self._faults if hasattr(f, 'gate')]

    def forget_faults(self):
        """Also those that hold: whoever waits goes on."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            if hasattr(fault, 'gate'):
                fault.gate.let_go()

    refuse = Refuse

    def run_faults(self, attribute, device, data=None):
        return self._run_faults(attribute, self.devices.get(device), data)

    def _run_faults(self, attribute, device, data, driver=None):
        """True when the effect shall happen. Called without the lock."""
        with self._lock:
            fault = next((f for f in self._faults if f.wants(attribute, device, data, driver)), None)
            if fault:
                fault.left -= 1
                fault.hits += 1
        return fault.action() if fault else True

    # --- files ----------------------------------------------------------------------------------------------------

    def put(self, path, text, mode=0o644):
        """An attribute that the daemon keeps open has the new text there as well; a reader sees the old or the new."""
        real = self.root + path
        if os.path.basename(path) in KEPT_ATTRIBUTES and os.path.isfile(real):
            with open(real, 'r+b', buffering=0) as f:
                f.write(text.encode().ljust(os.path.getsize(real), b'\n'))
                f.truncate(len(text))
            return
        os.makedirs(os.path.dirname(real), exist_ok=True)
        temporary = real + '.new'
        with open(temporary, 'wb') as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(temporary, mode)
        os.rename(temporary, real)

    def get(self, path):
        with open(self.root + path) as f:
            return f.read()

    def read_bytes(self, path):
        with open(self.root + path, 'rb') as f:
            return f.read()

    def link(self, path, target):
        """A relative link, as sysfs makes them; both are absolute below the testbed."""
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        os.symlink(os.path.relpath(target, os.path.dirname(path)), self.root + path)

    def unlink(self, path):
        with self._emptied([self.root + path]), contextlib.suppress(FileNotFoundError):
            os.unlink(self.root + path)

    def exists(self, path):
        return os.path.lexists(self.root + path)

    def remove_tree(self, path):
        with self._emptied(os.path.join(at, f) for at, _, files in os.walk(self.root + path) for f in files):
            shutil.rmtree(self.root + path, ignore_errors=True)

    @staticmethod
    @contextlib.contextmanager
    def _emptied(paths):
        """Empties these files after they were removed, so that a reader who has one open notices it. sysfs says ENODEV."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(p, 'r+b')) for p in paths
                     if os.path.basename(p) in KEPT_ATTRIBUTES and os.path.isfile(p)]
            yield
            for f in files:
                f.truncate(0)

    # --- devices --------------------------------------------------------------------------------------------------

    def add_driver(self, name, bus='pci'):
        if name in self.drivers:
            return
        self.drivers.add(name)
        directory = f'/sys/bus/{bus}/drivers/{name}'
        self.put(f'{directory}/bind', '', 0o200)
        self.put(f'{directory}/unbind', '', 0o200)
        self.put(f'{directory}/uevent', '', 0o200)

    def properties(self, device):
        ids = device.ids
        properties = {'DRIVER': device.driver} if device.driver else {}
        if device.bus != 'pci':
            return properties
        properties.update({
            'PCI_CLASS': f'{ids["class"]:X}', 'PCI_ID': f'{ids["vendor"]:04X}:{ids["device"]:04X}',
            'PCI_SUBSYS_ID': f'{ids["subsystem_vendor"]:04X}:{ids["subsystem_device"]:04X}',
            'PCI_SLOT_NAME': device.address, 'MODALIAS': self.get(device.path + '/modalias').strip()})
        return properties

    def announce(self, action, device):
        properties = self.properties(device)
        self.put(device.path + '/uevent', ''.join(f'{k}={v}\n' for k, v in properties.items()))
        self.uevents.send(action, device.path[len('/sys'):], device.bus, **properties)

    def set_enable(self, device, count):
        with self.changed:
            device.enable = count
            if device.present and device.bus == 'pci':
                self.put(device.path + '/enable', f'{count}\n')
            self.notify()

    def group_members(self, group):
        return [d for d in self.devices.values() if d.group == group and d.present]

    def _group_in_use(self, group):
        return self.nodes.is_open(f'/dev/vfio/{group}')

    def _is_open(self, path):
        return path in self._opening or self.nodes.is_open(path)

    # --- binding --------------------------------------------------------------------------------------------------

    def probe(self, device, driver):
        """What really_probe() does; raises Refuse and leaves nothing behind on failure."""
        with self.changed:
            if device.bus not in ('pci', 'platform'):
                pass
            elif driver in VFIO_DRIVERS | {VFIO_PLATFORM}:
                if device.is_bridge or device.group is None and not self._noiommu_is_enabled():
                    raise Refuse(errno.EINVAL)
            elif driver not in MANAGED_DRIVERS and device.group is not None:
                if any(d.enable and d.vfio_index is not None for d in self.group_members(device.group)):
                    raise Refuse(errno.EBUSY)
            self.add_driver(driver, device.bus)
            device.driver = driver
            self.link(device.path + '/driver', f'/sys/bus/{device.bus}/drivers/{driver}')
            self.link(f'/sys/bus/{device.bus}/drivers/{driver}/{device.address}', device.path)
            if driver == VHOST_VDPA:
                self._register_vdpa(device)
            elif driver in VFIO_DRIVERS | {NATIVE, VFIO_PLATFORM} or device.bus == 'mdev':
                self._register_vfio(device)
                self.set_enable(device, device.idle_enable)
            elif driver != 'pcieport' and driver != 'pci-stub':
                self.set_enable(device, 1)
            self.announce('bind', device)
            self.notify()

    def _noiommu_is_enabled(self):
        return self.exists(NOIOMMU_PARAMETER) and self.get(NOIOMMU_PARAMETER).strip() == 'Y'

    def _make_up_group(self, device):
        used = {d.group for d in self.devices.values()}
        device.group = next(g for g in range(FIRST_NOIOMMU_GROUP, FIRST_NOIOMMU_GROUP + 4096) if g not in used)
        device.noiommu = device.bus != 'mdev'
        directory = f'/sys/kernel/iommu_groups/{device.group}'
        self.put(directory + '/name', 'vfio-noiommu\n')
        self.link(f'{directory}/devices/{device.address}', device.path)
        self.link(device.path + '/iommu_group', directory)

    def _forget_group(self, device):
        self.unlink(device.path + '/iommu_group')
        self.remove_tree(f'/sys/kernel/iommu_groups/{device.group}')
        device.group, device.noiommu = None, False

    @staticmethod
    def _group_node(device):
        return f'noiommu-{device.group}' if device.noiommu else f'{device.group}'

    def _free_index(self):
        return next(i for i in range(4096) if all(d.vfio_index != i for d in self.devices.values()))

    def _register_vdpa(self, device):
        """Its node is announced to nobody."""
        device.vfio_index = index = self._free_index()
        path = f'{device.path}/vhost-vdpa-{index}'
        self.put(path + '/dev', f'{MAJOR_VHOST_VDPA}:{index}\n')
        self.link(f'/sys/dev/char/{MAJOR_VHOST_VDPA}:{index}', path)
        self.nodes.add(device.node, MAJOR_VHOST_VDPA, index, 0o600)

    def _unregister_vdpa(self, device):
        """At once, and without asking anybody to close it."""
        node = device.node
        self.unlink(f'/sys/dev/char/{MAJOR_VHOST_VDPA}:{device.vfio_index}')
        self.remove_tree(f'{device.path}/vhost-vdpa-{device.vfio_index}')
        self.nodes.remove(node)
        self._wait_for_close(lambda: not self._is_open(node))
        device.vfio_index = None

    def _wait_for_close(self, is_closed):
        self.notify()
        self.changed.wait_for(lambda: self._closed or is_closed())
        if self._closed:
            raise Refuse(errno.EIO)

    def _register_vfio(self, device):
        if device.group is None:
            self._make_up_group(device)
        group = device.group
        members = self._group_registered.get(group, 0)
        self._group_registered[group] = members + 1
        if self.group and members == 0:
            node = self._group_node(device)
            path = f'/sys/devices/virtual/vfio/{node}'
            self._add_class_device(path, 'vfio', MAJOR_VFIO_GROUP, group, f'vfio/{node}', 0o600)
        device.vfio_index = index = self._free_index()
        path = f'{device.path}/vfio-dev/vfio{index}'
        self.link(path + '/device', device.path)
        if self.cdev and not device.noiommu:
            self._add_class_device(path, 'vfio-dev', MAJOR_VFIO_DEVICE, index, f'vfio/devices/vfio{index}', 0o600)
        else:
            self._add_class_device(path, 'vfio-dev', None, None, None, None)

    def _add_class_device(self, path, subsystem, major, minor, node, mode):
        properties = {}
        if node:
            properties = {'MAJOR': major, 'MINOR': minor, 'DEVNAME': '/dev/' + node}  # as udev writes it
            self.put(path + '/dev', f'{major}:{minor}\n')
            self.link(f'/sys/dev/char/{major}:{minor}', path)
            self.nodes.add('/dev/' + node, major, minor, mode)
        self.put(path + '/uevent', f'MAJOR={major}\nMINOR={minor}\nDEVNAME={node}\n' if node else '')
        self.link(path + '/subsystem', f'/sys/class/{subsystem}')
        self.link(f'/sys/class/{subsystem}/{os.path.basename(path)}', path)
        self.uevents.send('add', path[len('/sys'):], subsystem, **properties)

    def _remove_class_device(self, path, subsystem, node):
        properties = {}
        if node and self.exists(path + '/dev'):
            major, minor = self.get(path + '/dev').strip().split(':')
            properties = {'MAJOR': major, 'MINOR': minor, 'DEVNAME': '/dev/' + node}
            self.unlink(f'/sys/dev/char/{major}:{minor}')
            self.nodes.remove('/dev/' + node)
        # The kernel announces it just before the directory goes; udev passes that on when it is gone.
        self.unlink(f'/sys/class/{subsystem}/{os.path.basename(path)}')
        self.remove_tree(path)
        self.uevents.send('remove', path[len('/sys'):], subsystem, **properties)

    def unbind(self, device):
        """Waits, as the kernel does, until nobody has the device open; new opens are impossible meanwhile."""
        with self.changed:
            driver, index, group = device.driver, device.vfio_index, device.group
            self.unlink(device.path + '/driver')
            self.unlink(f'/sys/bus/{device.bus}/drivers/{driver}/{device.address}')
            if driver == VHOST_VDPA:
                self._unregister_vdpa(device)
            elif index is not None:
                node = f'vfio/devices/vfio{index}'
                self._remove_class_device(f'{device.path}/vfio-dev/vfio{index}', 'vfio-dev', node)
                self.remove_tree(device.path + '/vfio-dev')
                self._wait_for_close(lambda: device.enable <= device.idle_enable and not self._is_open('/dev/' + node))
                device.vfio_index = None
                self._group_registered[group] -= 1
                if self.group and self._group_registered[group] == 0:
                    node = self._group_node(device)
                    self._remove_class_device(f'/sys/devices/virtual/vfio/{node}', 'vfio', f'vfio/{node}')
                if device.noiommu or device.bus == 'mdev':
                    self._forget_group(device)
            else:
                self.set_enable(device, 0)
            device.driver = None
            self.announce('unbind', device)
            self.notify()

    def remove(self, device):
        """Hot removal: everything that unbind does, then the device itself."""
        with device.lock, self.changed:
            if not device.present:
                raise Refuse(errno.ENODEV)
            if device.driver:
                self.unbind(device)
            properties = self.properties(device)
            self.unlink(f'/sys/bus/{device.bus}/devices/{device.address}')
            if device.group is not None:
                self.unlink(device.path + '/iommu_group')
                self.unlink(f'/sys/kernel/iommu_groups/{device.group}/devices/{device.address}')
            self.remove_tree(device.path)
            self.uevents.send('remove', device.path[len('/sys'):], device.bus, **properties)
            device.present = False
            del self.devices[device.address]
            if device.mdev_parent in self.mdev_parents:
                self.count_mdevs(device.mdev_parent)
            if device.group is not None and not self.group_members(device.group):
                self.remove_tree(f'/sys/kernel/iommu_groups/{device.group}')
            self.notify()

    # --- system calls ---------------------------------------------------------------------------------------------

    def _write(self, path, data):
        attribute = os.path.basename(path)
        text = data.decode(errors='replace')
        with self._lock:
            self.writes.append((path, text))
            if path.startswith('/sys/bus/'):
                device = self.devices.get(text.strip())
                device = device if device and device.bus == path.split('/')[3] else None
            else:
                device = next((d for d in self.devices.values() if os.path.dirname(path) == d.path), None)
            driver = path.split('/')[-2] if re.match('/sys/bus/[^/]+/drivers/', path) else None
            if attribute == 'drivers_probe' and device:
                driver = self._matching_driver(device)
        if not self._run_faults(attribute, device, text, driver):
            return
        locked = device.lock if device and attribute != 'driver_override' else contextlib.nullcontext()
        with locked, self.changed:
            if device and not device.present or not self.exists(path):
                raise Refuse(errno.ENODEV)  # it was unplugged while the attribute was open
            self._store(path, attribute, device, driver, text)

    def _store(self, path, attribute, device, driver, text):
        if path == NOIOMMU_PARAMETER and text.strip() in ('Y', 'N'):
            self.put(path, text.strip() + '\n')
        elif path == '/sys/bus/pci/drivers_probe':
            self._write_drivers_probe(device)
        elif driver and attribute == 'bind':
            self._write_bind(device, driver)
        elif driver and attribute == 'unbind':
            if device is None or device.driver != driver:
                raise Refuse(errno.ENODEV)
            self.unbind(device)
        elif device and attribute == 'driver_override':
            self._write_driver_override(device, text)
        elif device and attribute == 'reset' and device.reset_methods:
            if text.strip() != '1':
                raise Refuse(errno.EINVAL)
            device.resets += 1
            self.notify()
        elif device and attribute in ('sriov_drivers_autoprobe', 'd3cold_allowed') and text.strip() in ('0', '1'):
            self.put(path, text.strip() + '\n')
        elif attribute == 'create' and self.mdev_parent_of(path):
            self._create_mdev(self.mdev_parent_of(path), path.split('/')[-2], text.strip())
        elif device and attribute == 'remove' and device.bus == 'mdev':
            if text.strip() != '1':
                raise Refuse(errno.EINVAL)
            self.remove(device)
        elif device and attribute == 'sriov_numvfs':
            self._write_numvfs(device, int(text))
        elif device is None and path.startswith('/sys/devices/'):
            raise Refuse(errno.ENODEV)  # unplugged while the attribute was open, and another is plugged in there now
        else:
            self.unexpected.append((path, text))
            raise Refuse(errno.EACCES)

    def _matching_driver(self, device):
        return device.override if device.override in self.drivers else None if device.override else device.host_driver

    def _write_drivers_probe(self, device):
        if device is None:
            raise Refuse(errno.ENODEV)
        driver = self._matching_driver(device)
        if device.driver or not driver:
            return
        with contextlib.suppress(Refuse):  # a probe() that fails is not reported here
            self.probe(device, driver)

    def _matches(self, device, driver):
        """On the bus vdpa any driver takes any device that has no override."""
        return self._matching_driver(device) == driver or device.bus == 'vdpa' and not device.override

    def _write_bind(self, device, driver):
        if device is None or not self._matches(device, driver):
            raise Refuse(errno.ENODEV)
        if device.driver:
            raise Refuse(errno.EBUSY)
        self.probe(device, driver)

    def _write_driver_override(self, device, text):
        if len(text) >= 4095:
            raise Refuse(errno.EINVAL)
        with self.changed:
            device.override = text.split('\n')[0] or None
            self.put(device.path + '/driver_override', (device.override or '(null)') + '\n')
            self.notify()

    # --- mediated devices -----------------------------------------------------------------------------------------

    def mdev_parent_of(self, path):
        return next((p for p in self.mdev_parents if path.startswith(p.path + '/mdev_supported_types/')), None)

    def mdevs_of(self, parent):
        return [d for d in self.devices.values() if d.mdev_parent is parent]

    def count_mdevs(self, parent):
        """Writes what is left of each type, and which there are."""
        free = parent.ports - sum(parent.types[d.mdev_type] for d in self.mdevs_of(parent))
        for type, ports in parent.types.items():
            directory = f'{parent.path}/mdev_supported_types/{type}'
            self.put(directory + '/available_instances', f'{free // ports}\n', 0o444)
            self.remove_tree(directory + '/devices')
            os.makedirs(f'{self.root}{directory}/devices')
            for d in self.mdevs_of(parent):
                if d.mdev_type == type:
                    self.link(f'{directory}/devices/{d.address}', d.path)

    def _create_mdev(self, parent, type, uuid):
        """drivers/vfio/mdev/mdev_core.c: mdev_device_create(), and mtty_probe()."""
        if not re.fullmatch('[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', uuid):
            raise Refuse(errno.EINVAL)
        if uuid in self.devices:
            raise Refuse(errno.EEXIST)
        if parent.types[type] > parent.ports - sum(parent.types[d.mdev_type] for d in self.mdevs_of(parent)):
            raise Refuse(errno.ENOSPC)
        parent.make(uuid, type)

    def set_functions(self, device, count):
        """As somebody else would, by way of sriov_numvfs."""
        with device.lock, self.changed:
            self._write_numvfs(device, count)

    def _write_numvfs(self, device, count):
        """drivers/pci/iov.c: sriov_numvfs_store()."""
        if count > int(self.get(device.path + '/sriov_totalvfs')):
            raise Refuse(errno.ERANGE)
        if count == len(device.functions):
            return
        if not device.driver or not device.makes_functions:
            raise Refuse(errno.ENOENT)
        if count and device.functions:
            raise Refuse(errno.EBUSY)
        while device.functions and not count:
            function = device.functions[-1]
            if function.present:
                self.remove(function)
            self.unlink(f'{device.path}/virtfn{len(device.functions) - 1}')
            device.functions.pop()
        for number in range(count):
            device.functions.append(device.make_function(number))
        self.put(device.path + '/sriov_numvfs', f'{count}\n')
        if count:
            self.announce('change', device)
        self.notify()

    def _open(self, path):
        name = os.path.basename(path)
        self._run_faults('open', None, path)
        with self.changed:
            self.changed.wait_for(lambda: path not in self._opening)
            if os.path.dirname(path) == '/dev/vfio' and name.isdigit():
                bound = any(d.enable and d.vfio_index is not None
                            and self.nodes.is_open(f'/dev/vfio/devices/vfio{d.vfio_index}')
                            for d in self.group_members(int(name)))
                if bound or self._group_in_use(int(name)):
                    raise Refuse(errno.EBUSY)
            if name.startswith(('noiommu-', 'vhost-vdpa-')) and self.nodes.is_open(path):
                raise Refuse(errno.EBUSY)
            for device in self.devices.values():
                if device.bus == 'vdpa' and device.node == path:
                    device.resets += 1
            self._opening.add(path)
            for device in self.devices.values():
                if path == compat_file(device):
                    device.compat = True
                    self.set_enable(device, 1)
            return self.ledger.open(path)

    def _fdinfo(self, path):
        with self._lock:
            index = os.path.basename(path).removeprefix('vfio')
            device = next((d for d in self.devices.values() if str(d.vfio_index) == index), None)
            return f'vfio-device-syspath: {device.path}\n'.encode() if device else b''

    def _device_of_node(self, path):
        index = os.path.basename(path).removeprefix('vfio')
        return next(d for d in self.devices.values() if str(d.vfio_index) == index)

    def _close(self, path):
        """Somebody who has asked for the device closed a copy of its node or its group's. The last one resets it."""
        with self.changed:
            for device in self.devices.values():
                nodes = (f'/dev/vfio/devices/vfio{device.vfio_index}', f'/dev/vfio/{device.group}')
                if device.opened and path in nodes and not self.nodes.is_open(path):
                    device.opened = False
                    self.set_enable(device, 0)
            self.notify()

    def _device_of_file(self, path):
        """Of the file of a device, or of its group's, in which it was opened last."""
        if path.startswith('/dev/vfio/devices/vfio'):
            return self._device_of_node(path)
        return next((d for d in self.devices.values() if compat_file(d) == path), self._attached)

    def _describe_device(self, path, request, data):
        """Bytes of VFIO_DEVICE_GET_INFO and VFIO_DEVICE_GET_REGION_INFO: a region begins where its number says."""
        if request == VFIO_DEVICE_GET_INFO:
            return struct.pack('=IIII', len(data), 2 if self._device_of_file(path).bus == 'pci' else 0, 9, 5) + data[16:]
        index, = struct.unpack_from('=I', data, 8)
        return struct.pack('=IIIIQQ', len(data), 3, index, 0, 4096, index << 40)

    def _read_device(self, path, size, offset):
        with self._lock:
            device = self._device_of_file(path)
            if offset >> 40 != VFIO_PCI_CONFIG_REGION:
                raise Refuse(errno.EINVAL)
            begin = offset & (1 << 40) - 1
            return b'\xff' * size if device.silent else self.read_bytes(device.path + '/config')[begin:begin + size]

    def _bind_iommufd(self, device, data):
        if any(d.driver and d.driver not in MANAGED_DRIVERS for d in self.group_members(device.group)):
            raise Refuse(errno.EPERM)
        if device.enable > device.idle_enable or device.opened:
            raise Refuse(errno.EINVAL)  # another file is bound
        if any(f.enable for f in device.functions):
            raise Refuse(errno.EACCES)  # virtual functions in use, and no token given
        if self.nodes.is_open(f'/dev/vfio/{device.group}'):
            raise Refuse(errno.EBUSY)
        self.set_enable(device, 1)
        device.opened = True
        return data[:12] + struct.pack('=I', device.vfio_index + 1) + data[16:]

    def _ioctl_of_caps(self, path, request, argument, data):
        """Bytes or a number; None: another ioctl. What is asked of an address space is about the device that was attached
        last: whoever asks does so of one at a time."""
        if path == '/dev/iommu':
            return self._ioctl_of_iommufd(request, argument, data)
        if path == '/dev/vfio/vfio':
            if request == VFIO_CHECK_EXTENSION and argument == VFIO_DMA_CC_IOMMU:
                return int(self._attached.caps.enforces_coherency)
            return self._type1_info(data) if request == VFIO_IOMMU_GET_INFO else None
        if request == VFIO_DEVICE_ATTACH_IOMMUFD_PT:
            self._attached = self._device_of_node(path)
            return data
        if request != VFIO_DEVICE_FEATURE:
            return None
        return self._set_vf_token(path, data) if struct.unpack_from('=I', data, 4)[0] == 1 << 17 else self._feature(data)

    def _ioctl_of_iommufd(self, request, argument, data):
        if request == IOMMU_IOAS_ALLOC:
            return data[:8] + struct.pack('=I', 1)
        if request == IOMMU_VFIO_IOAS:
            return data
        if request == VFIO_CHECK_EXTENSION and argument == VFIO_DMA_CC_IOMMU:
            return int(self._attached.caps.enforces_coherency)
        if request == IOMMU_IOAS_IOVA_RANGES:
            ranges = self._attached.caps.iova
            room = struct.unpack_from('=I', data, 8)[0]
            listed = b''.join(struct.pack('=QQ', *r) for r in ranges[:room])
            head = data[:8] + struct.pack('=I', len(ranges)) + data[12:24] + struct.pack('=Q', 4096)
            return head + listed.ljust(room * 16, b'\0')
        if request == IOMMU_GET_HW_INFO:
            devid, = struct.unpack_from('=I', data, 8)
            c = next(d for d in self.devices.values() if d.opened and d.vfio_index == devid - 1).caps
            head = data[:24] + struct.pack('=IB3xQ', c.hw_type, c.pasid_bits, c.hw_capabilities)
            return head + struct.pack('=IIQQ', 0, 0, c.vtd_cap, c.vtd_ecap)
        return None

    def _type1_info(self, data):
        c = self._attached.caps
        ranges = b''.join(struct.pack('=QQ', *r) for r in c.iova)
        info = struct.pack('=IIQI4x', len(data), 3, c.page_sizes, 24)
        return (info + struct.pack('=HHIII', 1, 1, self.type1_next, len(c.iova), 0) + ranges).ljust(len(data), b'\0')

    def _check_vf_token(self, device, token):
        """drivers/vfio/pci/vfio_pci_core.c: vfio_pci_validate_vf_token()."""
        given = bytes.fromhex(token.replace('-', ''))
        if device.physfn and device.physfn.driver in VFIO_DRIVERS:
            if not given or given != device.physfn.vf_token:
                raise Refuse(errno.EACCES)
        elif any(f.enable for f in device.functions) and given != device.vf_token:
            raise Refuse(errno.EACCES)

    def _set_vf_token(self, path, data):
        device = self._device_of_node(path) if path.startswith('/dev/vfio/devices/') else self._attached
        if not device.opened or not self.exists(device.path + '/sriov_totalvfs'):
            raise Refuse(errno.ENOTTY)
        device.vf_token = data[8:24]
        return data

    def _feature(self, data):
        device = self._attached
        _, flags = struct.unpack_from('=II', data)
        if flags & 0xFFFF == 1 and device.caps.migration is not None:
            return data[:8] + struct.pack('=Q', device.caps.migration)
        if flags & 1 << 18 and flags & 0xFFFF in device.caps.features:
            return data
        raise Refuse(errno.ENOTTY)

    def _ioctl(self, path, request, argument, data):
        self._run_faults('ioctl', None, path)
        with self.changed:
            if self.is_abandoned():
                raise Refuse(errno.EINTR)
            self.ioctls.append((path, request, argument, data))
            self.notify()
            if request in self.fail_ioctl:
                raise Refuse(self.fail_ioctl[request])
            compatible = self.iommufd_container and path == '/dev/vfio/vfio'
            if (path == '/dev/iommu' or compatible) and request == IOMMU_OPTION:
                _, option, operation, _, target, value = struct.unpack('=IIHHIQ', data)
                if option != IOMMU_OPTION_RLIMIT_MODE or target != 0:
                    raise Refuse(errno.EOPNOTSUPP)
                if operation == 0:
                    self.rlimit_modes.append(value)
                return 0, data
            answer = self._ioctl_of_caps(path, request, argument, data)
            if answer is not None:
                return 0 if isinstance(answer, bytes) else answer, answer if isinstance(answer, bytes) else b''
            if path == '/dev/vfio/vfio':
                if request == VFIO_GET_API_VERSION:
                    return 0, b''
                if request == VFIO_CHECK_EXTENSION:
                    return int(argument in self.iommu_types), b''
                if request == VFIO_SET_IOMMU:
                    if argument != VFIO_NOIOMMU_IOMMU and argument not in self.iommu_types:
                        raise Refuse(errno.ENODEV)
                    if argument == VFIO_NOIOMMU_IOMMU and not self._noiommu_is_enabled():
                        raise Refuse(errno.ENODEV)
                    return 0, b''
            if request == VFIO_GROUP_GET_STATUS:
                members = self.group_members(int(os.path.basename(path)))
                viable = all(d.driver is None or d.driver in MANAGED_DRIVERS or d.bus == 'mdev' for d in members)
                return 0, struct.pack('=II', 8, GROUP_VIABLE if viable else 0)
            if request == VFIO_GROUP_SET_CONTAINER:
                return 0, b''
            if request == VFIO_GROUP_GET_DEVICE_FD:
                name, _, token = data.decode().partition(' vf_token=')
                device = self.devices.get(name)
                if not device or self._group_node(device) != os.path.basename(path):
                    raise Refuse(errno.ENODEV)
                self._check_vf_token(device, token)
                if self.iommufd_container and not device.noiommu:
                    self.nodes.add(compat_file(device), MAJOR_VFIO_DEVICE, 0, 0o600)
                    return 0, compat_file(device).encode()
                self.set_enable(device, 1)
                device.opened, self._attached = True, device
                return 0, b''
            if request in (VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_REGION_INFO):
                return 0, self._describe_device(path, request, data)
            if request == VHOST_VDPA_GET_DEVICE_ID:
                return 0, struct.pack('=I', 1)
            if request == VFIO_DEVICE_BIND_IOMMUFD:
                return 0, self._bind_iommufd(self._device_of_node(path), data)
            raise Refuse(errno.ENOTTY)


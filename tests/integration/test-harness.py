#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself: does the pretended kernel behave as kernel-facts say? Needs no daemon: the programs under the
preload are small pieces of Python."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import unittest

import harness
from host import Host, VFIO


class Program:
    """Code that runs in a process of its own with both preloads, as the daemon does."""

    def __init__(self, host, code):
        self.process = subprocess.Popen([sys.executable, '-c', code], env=harness.preload_environment(host),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self):
        return self.process.stdout.readline().strip()

    def say(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.communicate()


class MainTest(unittest.TestCase):
    def test_nothing_outlives_a_test_that_ends_at_once(self):
        """As one does whose time is over. Whoever reads its output sees the end."""
        code = '''import harness, os, subprocess, unittest
class Test(unittest.TestCase):
    def test(self):
        subprocess.Popen(['sleep', '1000'], start_new_session=True)
        subprocess.run(['sh', '-c', 'sleep 1000 & exit'])
        print('out', flush=True)
        os._exit(3)
harness.main()'''
        process = subprocess.run([sys.executable, '-c', code], cwd=os.path.dirname(__file__), stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual((process.returncode, process.stdout), (3, 'out\n'))

    def test_status(self):
        for body, status in (('pass', 0), ('self.fail()', 1), ('os.kill(os.getpid(), 9)', 137), ('os.kill(os.getpid(), 15)', 1)):
            code = f'import harness, os, unittest\nclass Test(unittest.TestCase):\n    def test(self): {body}\nharness.main()'
            process = subprocess.run([sys.executable, '-c', code], cwd=os.path.dirname(__file__), timeout=60,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.assertEqual(process.returncode, status, body)

    def test_a_thread_that_ends_with_an_exception(self):
        code = '''import harness, threading
class Test(harness.VfiodTestCase):
    def test(self):
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
harness.main()'''
        process = subprocess.run([sys.executable, '-c', code], cwd=os.path.dirname(__file__), timeout=60,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(process.returncode, 1)
        self.assertIn('threads of the test that ended with an exception', process.stdout)


class HarnessTest(unittest.TestCase):
    def setUp(self):
        self.host = Host()
        self.addCleanup(self.host.close)
        self.kernel = self.host.kernel

    def start(self, code):
        program = Program(self.host, code)
        self.addCleanup(program.close)
        return program

    def run_code(self, code):
        """Prints JSON; gives it back."""
        out = subprocess.run([sys.executable, '-c', 'import json, os, errno\n' + code], check=True, text=True,
                             env=harness.preload_environment(self.host), stdout=subprocess.PIPE, timeout=20)
        return json.loads(out.stdout)

    def test_the_ledger_of_descriptors(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        for code, line in ((f'fd = os.open("{self.host.cdev(nic)}", os.O_RDWR)', 'left open'),
                           (f'fd = os.open("{self.host.cdev(nic)}", os.O_RDWR); os.close(fd)', ''),
                           ('a = os.dup(0); os.close(a); libc.close(a)', 'closed twice')):
            run = subprocess.run([sys.executable, '-c', 'import os, ctypes; libc = ctypes.CDLL(None)\n' + code], text=True,
                                 env=harness.preload_environment(self.host), stderr=subprocess.PIPE, timeout=20)
            self.assertIn(line, run.stderr)
            self.assertEqual('fd-ledger' in run.stderr, bool(line), run.stderr)

    def give(self, code):
        """What the ledger says of a node that a program opens and gives away, as an answer to a claim of card a."""
        a = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        b = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.run_code(f'''
import socket
here, there = socket.socketpair()
def grant(*fds, names=('device:{a.name}',), claim='c1'):
    message = dict(parameters=dict(claim=claim, devices=['{a.name}'],
                                   fds=[dict(name=n, fileDescriptorIndex=i) for i, n in enumerate(names)]))
    socket.send_fds(here, [json.dumps(message).encode() + bytes(1)], fds)
def open_node(path):
    return os.open(path, os.O_RDWR)
a, b, iommu = {self.host.cdev(a)!r}, {self.host.cdev(b)!r}, '/dev/iommu'
''' + code + '''
print('[]')
os._exit(0)''')
        return self.kernel.unexpected

    def test_a_node_that_leaves_for_its_claim(self):
        self.assertEqual(self.give('''
grant(open_node(a), open_node(iommu), os.pipe()[1], names=('device:pci:0000:06:00.0', 'iommufd', 'lifeline'))
grant(os.dup(open_node(a)), claim='c2')'''), [])
        self.assertEqual(self.kernel.ledger.n_given, 3)

    def test_a_node_that_leaves_where_it_should_not(self):
        for code, word in (('fd = open_node(a); grant(fd); grant(os.dup(fd), claim="c2")', 'has left before, for c1'),
                           ('grant(open_node(b))', 'leaves as device'),
                           ('fd = open_node(a); open_node(a); grant(fd)', 'for an earlier claim'),
                           ('grant(open_node(a), claim="")', 'for no claim'),
                           ('socket.send_fds(here, [b"x"], [open_node(iommu)])', 'leaves for no claim')):
            with self.subTest(code):
                self.setUp()  # another host
                self.assertIn(word, ' '.join(self.give(code)))

    def write(self, path, text):
        return self.run_code(f'''
fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC)
try:
    print(os.write(fd, {text!r}.encode()))
except OSError as e:
    print(json.dumps(errno.errorcode[e.errno]))''')

    def test_writes_have_their_effect_before_they_return(self):
        nic = self.host.add_device('0000:06:0d.0', group=8, driver='e1000e')
        seen = self.run_code(f'''
def write(path, text):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text)
    os.close(fd)
d = '/sys/bus/pci/devices/0000:06:0d.0'
write(d + '/driver_override', b'vfio-pci')
write(d + '/driver/unbind', b'0000:06:0d.0')
unbound = not os.path.lexists(d + '/driver')
write('/sys/bus/pci/drivers_probe', b'0000:06:0d.0')
print(json.dumps([unbound, os.path.basename(os.readlink(d + '/driver')), open(d + '/driver_override').read(),
    os.listdir(d + '/vfio-dev'), os.path.basename(os.readlink(d + '/iommu_group')),
    os.path.exists('/dev/vfio/8'), os.path.exists('/dev/vfio/devices/vfio0')]))''')
        self.assertEqual(seen, [True, VFIO, 'vfio-pci\n', ['vfio0'], '8', True, True])
        self.assertEqual(nic.driver, VFIO)
        self.assertEqual(self.kernel.uevents.sent[-4:], [
            ('unbind', 'pci', '/devices/pci0000:00/0000:06:0d.0'),
            ('add', 'vfio', '/devices/virtual/vfio/8'),
            ('add', 'vfio-dev', '/devices/pci0000:00/0000:06:0d.0/vfio-dev/vfio0'),
            ('bind', 'pci', '/devices/pci0000:00/0000:06:0d.0')])

    def test_a_vdpa_device_is_moved_and_opened_once(self):
        vdpa = self.host.add_vdpa('vdpa0', driver='virtio_vdpa')
        self.host.load_vdpa_driver()
        seen = self.run_code('''
def write(path, text):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text)
    os.close(fd)
d = '/sys/bus/vdpa/devices/vdpa0'
write(d + '/driver_override', b'vhost_vdpa')
write(d + '/driver/unbind', b'vdpa0')
write('/sys/bus/vdpa/drivers/vhost_vdpa/bind', b'vdpa0')
fd = os.open('/dev/vhost-vdpa-0', os.O_RDWR)
st = os.fstat(fd)
try:
    os.open('/dev/vhost-vdpa-0', os.O_RDONLY)
except OSError as e:
    print(json.dumps([os.path.basename(os.readlink(d + '/driver')), open(d + '/vhost-vdpa-0/dev').read(),
                      f'{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}', errno.errorcode[e.errno]]))''')
        self.assertEqual(seen, ['vhost_vdpa', '243:0\n', '243:0', 'EBUSY'])
        self.assertEqual(vdpa.resets, 1)
        self.assertEqual(self.kernel.uevents.sent[-2:], [('unbind', 'vdpa', '/devices/vdpa0'),
                                                         ('bind', 'vdpa', '/devices/vdpa0')])

    def test_a_vdpa_device_is_unbound_when_it_is_closed(self):
        vdpa = self.host.add_vdpa('vdpa0', driver='vhost_vdpa')
        fd = self.host.hold_node(self.host.cdev(vdpa))
        writer = self.start('''
import os
os.write(os.open('/sys/bus/vdpa/devices/vdpa0/driver/unbind', os.O_WRONLY), b'vdpa0')
print('unbound', flush=True)''')
        with self.kernel.changed:
            self.kernel.changed.wait_for(lambda: not self.kernel.exists('/dev/vhost-vdpa-0'))
            self.assertEqual(vdpa.driver, 'vhost_vdpa')
        os.close(fd)
        self.assertEqual(writer.line(), 'unbound')
        self.assertIsNone(vdpa.driver)

    def test_override_is_cleared_by_a_newline_only(self):
        nic = self.host.add_device('0000:06:0d.0', group=8, override='vfio-pci')
        path = '/sys/bus/pci/devices/0000:06:0d.0/driver_override'
        self.assertEqual(self.write(path, ''), 0)
        self.assertEqual(nic.override, 'vfio-pci')
        self.assertEqual(self.write(path, '\n'), 1)
        self.assertEqual(self.host.attribute(nic, 'driver_override'), '(null)\n')

    def test_refusals_of_bind(self):
        self.host.add_device('0000:06:0d.0', group=8, host_driver='e1000e')
        bind = '/sys/bus/pci/drivers/vfio-pci/bind'
        self.assertEqual(self.write(bind, '0000:06:0d.0'), 'ENODEV')
        self.assertEqual(self.write('/sys/bus/pci/drivers/vfio-pci/unbind', '0000:06:0d.0'), 'ENODEV')
        self.assertEqual(self.write('/sys/bus/pci/drivers_probe', '0000:07:00.0'), 'ENODEV')
        self.assertEqual(self.kernel.unexpected, [])
        self.assertEqual(self.write('/sys/bus/pci/devices/0000:06:0d.0/numa_node', 'x'), 'EACCES')
        self.assertEqual(len(self.kernel.unexpected), 1)

    def test_faults(self):
        nic = self.host.add_device('0000:06:0d.0', group=8, override=VFIO)
        self.host.fail_binding(nic, errno.EBUSY)
        self.assertEqual(self.write('/sys/bus/pci/drivers/vfio-pci/bind', '0000:06:0d.0'), 'EBUSY')
        self.assertEqual(self.write('/sys/bus/pci/drivers_probe', '0000:06:0d.0'), 12)
        self.assertIsNone(nic.driver)
        self.kernel.heal()
        self.assertEqual(self.write('/sys/bus/pci/drivers_probe', '0000:06:0d.0'), 12)
        self.assertEqual(nic.driver, VFIO)

    def test_held_write_survives_signals_and_is_done_when_let_go(self):
        nic = self.host.add_device('0000:06:0d.0', group=8)
        gate = self.kernel.hold('reset')
        program = self.start('''
import os, signal
signal.signal(signal.SIGUSR1, lambda *a: None)
fd = os.open('/sys/bus/pci/devices/0000:06:0d.0/reset', os.O_WRONLY)
print('ready', flush=True)
os.write(fd, b'1')
print('done', flush=True)''')
        self.assertEqual(program.line(), 'ready')
        with self.kernel.changed:
            self.assertTrue(self.kernel.changed.wait_for(lambda: gate.entered, 10))
        program.process.send_signal(signal.SIGUSR1)
        self.assertEqual(nic.resets, 0)
        gate.let_go()
        self.assertEqual(program.line(), 'done')
        self.assertEqual(nic.resets, 1)

    def test_nodes_are_character_devices_in_every_stat(self):
        self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        numbers = self.run_code('''
import stat
def number(st):
    return [stat.S_ISCHR(st.st_mode), os.major(st.st_rdev), os.minor(st.st_rdev)]
path = '/dev/vfio/devices/vfio0'
fd = os.open(path, os.O_RDWR)
directory = os.open('/dev/vfio', os.O_RDONLY | os.O_DIRECTORY)
beneath = os.open('devices/vfio0', os.O_RDWR, dir_fd=directory)
print(json.dumps([number(os.stat(path)), number(os.lstat(path)), number(os.fstat(fd)), number(os.fstat(os.dup(fd))),
    number(os.stat('devices/vfio0', dir_fd=directory)), number(os.fstat(beneath)),
    open('/sys/bus/pci/devices/0000:06:0d.0/vfio-dev/vfio0/dev').read()]))''')
        self.assertEqual(numbers, [[True, 242, 0]] * 6 + ['242:0\n'])

    def test_the_real_nodes_are_out_of_reach(self):
        host = Host(iommufd=False, container=False)
        self.addCleanup(host.close)
        self.host = host
        self.assertEqual(self.run_code('''
print(json.dumps([os.path.exists('/dev/iommu'), os.path.exists('/dev/vfio/vfio'), os.listdir('/dev/vfio'),
    os.path.exists('/dev/null')]))'''), [False, False, ['devices'], True])

    def test_a_group_has_one_opener_wherever_its_fd_went(self):
        self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        attempt = '''
try:
    os.open('/dev/vfio/8', os.O_RDWR)
    print(json.dumps('opened'))
except OSError as e:
    print(json.dumps(errno.errorcode[e.errno]))'''
        fd = self.host.hold_node('/dev/vfio/8')
        copy = os.dup(fd)
        os.close(fd)
        self.assertEqual(self.run_code(attempt), 'EBUSY')
        os.close(copy)
        self.assertEqual(self.run_code(attempt), 'opened')

    def test_who_has_a_node_open_while_locks_come_and_go(self):
        nic = self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        node = self.host.cdev(nic)
        files = [self.host.hold_node(node)]
        for _ in range(300):
            files.append(os.open(self.host.root, os.O_RDONLY))
            fcntl.flock(files[-1], fcntl.LOCK_SH)
        others = subprocess.Popen([sys.executable, '-c', '''
import fcntl, os, sys
while os.getppid() == int(sys.argv[2]):
    files = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(40)]
    for fd in files:
        fcntl.flock(fd, fcntl.LOCK_SH)
    for fd in files:
        os.close(fd)''', self.host.root, str(os.getpid())])
        self.addCleanup(others.wait)
        self.addCleanup(others.kill)
        self.assertEqual({self.kernel.nodes.is_open(node) for _ in range(10000)}, {True})
        for fd in files:
            os.close(fd)
        self.assertFalse(self.kernel.nodes.is_open(node))

    def test_the_end_of_a_node_is_that_of_its_last_file(self):
        nic = self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        program = self.start('''
import ctypes, os, struct
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, b'/dev/vfio/devices/vfio0', 0x408)
print('ready', flush=True)
masks = []
while 0x8000 not in masks:
    data = os.read(fd, 4096)
    masks += [struct.unpack_from('=iI', data, i)[1] for i in range(0, len(data), 16)]
print(masks, flush=True)''')
        self.assertEqual(program.line(), 'ready')
        fd = self.host.hold_node(self.host.cdev(nic))
        removal = self.host.remove_device(nic)
        with self.kernel.changed:
            self.assertTrue(self.kernel.changed.wait_for(lambda: not self.kernel.exists('/dev/vfio/devices/vfio0'), 10))
        os.close(fd)
        self.assertEqual(program.line(), str([0x8, 0x400, 0x8000]))
        removal.join(10)

    def test_failed_opens_are_invisible_and_others_seen_by_inotify(self):
        self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        program = self.start('''
import ctypes, os, struct
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, b'/dev/vfio/8', 0x38)
def masks():
    data = os.read(fd, 4096)
    return [struct.unpack_from('=iI', data, i)[1] for i in range(0, len(data), 16)]
print('ready', flush=True)
print(masks()[0], flush=True)
input()
try:
    os.open('/dev/vfio/8', os.O_RDWR)
except OSError:
    print('busy', flush=True)
input()
print(masks(), flush=True)''')
        self.assertEqual(program.line(), 'ready')
        fd = self.host.hold_node('/dev/vfio/8')
        self.assertEqual(program.line(), '32')
        program.say()  # the event comes before the node is held
        self.assertEqual(program.line(), 'busy')
        os.close(fd)
        program.say()
        self.assertEqual(program.line(), '[8]')

    def test_fdinfo_names_the_device(self):
        self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        self.assertEqual(self.run_code('''
fd = os.open('/dev/vfio/devices/vfio0', os.O_RDWR)
text = open(f'/proc/{os.getpid()}/fdinfo/{fd}').read()
print(json.dumps([os.readlink(f'/proc/self/fd/{fd}'), text.startswith('pos:'), text.splitlines()[-1]]))'''),
            ['/dev/vfio/devices/vfio0', True,
             'vfio-device-syspath: /sys/devices/pci0000:00/0000:06:0d.0'])

    def test_ioctls(self):
        self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        self.host.add_device('0000:06:0d.1', group=8, driver='e1000e')
        self.assertEqual(self.run_code('''
import fcntl, struct
container = os.open('/dev/vfio/vfio', os.O_RDWR)
group = os.open('/dev/vfio/8', os.O_RDWR)
iommufd = os.open('/dev/iommu', os.O_RDWR)
status = bytearray(struct.pack('=II', 8, 0xff))
fcntl.ioctl(group, 0x3b67, status)
option = bytearray(struct.pack('=IIHHIQ', 24, 0, 0, 0, 0, 1))
fcntl.ioctl(iommufd, 0x3b87, option)
print(json.dumps([fcntl.ioctl(container, 0x3b64), fcntl.ioctl(container, 0x3b65, 1),
    fcntl.ioctl(container, 0x3b65, 8), struct.unpack('=II', status)[1]]))'''), [0, 1, 0, 0])
        self.assertEqual(self.kernel.rlimit_modes, [1])

    def test_unbind_in_use_waits_and_takes_the_node_first(self):
        nic = self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        fd = self.host.hold_node('/dev/vfio/devices/vfio0')
        removal = self.host.remove_device(nic)
        with self.kernel.changed:
            self.assertTrue(self.kernel.changed.wait_for(lambda: not self.kernel.exists('/dev/vfio/devices/vfio0'), 10))
        self.assertTrue(self.kernel.exists('/dev/vfio/8'))
        self.assertTrue(self.kernel.exists(nic.path))
        os.close(fd)
        removal.join(10)
        self.assertFalse(self.kernel.exists(nic.path))
        self.assertFalse(self.kernel.exists('/dev/vfio/8'))
        self.assertEqual([e[:2] for e in self.kernel.uevents.sent[-4:]],
                         [('remove', 'vfio-dev'), ('remove', 'vfio'), ('unbind', 'pci'), ('remove', 'pci')])

    def test_libudev_takes_our_uevents(self):
        program = self.start('''
import ctypes, select
u = ctypes.CDLL('libudev.so.1')
for f in ('udev_new', 'udev_monitor_new_from_netlink', 'udev_monitor_receive_device', 'udev_device_get_action',
          'udev_device_get_syspath', 'udev_device_get_subsystem'):
    getattr(u, f).restype = ctypes.c_void_p
text = lambda p: ctypes.cast(p, ctypes.c_char_p).value.decode()
m = ctypes.c_void_p(u.udev_monitor_new_from_netlink(ctypes.c_void_p(u.udev_new()), b'udev'))
for s in (b'pci', b'vfio-dev'):
    assert u.udev_monitor_filter_add_match_subsystem_devtype(m, s, None) >= 0
assert u.udev_monitor_enable_receiving(m) >= 0
print('ready', flush=True)
for i in range(3):
    select.select([u.udev_monitor_get_fd(m)], [], [])
    d = ctypes.c_void_p(u.udev_monitor_receive_device(m))
    print(text(u.udev_device_get_action(d)), text(u.udev_device_get_subsystem(d)),
          text(u.udev_device_get_syspath(d)), flush=True)''')
        self.assertEqual(program.line(), 'ready')
        self.host.add_device('0000:06:0d.0', group=8, driver=VFIO)
        path = '/sys/devices/pci0000:00/0000:06:0d.0'
        self.assertEqual([program.line() for _ in range(3)],
                         [f'add pci {path}', f'add vfio-dev {path}/vfio-dev/vfio0', f'bind pci {path}'])

    def test_parallel_writes_do_not_wait_for_a_stuck_one(self):
        self.host.add_device('0000:06:0d.0', group=8)
        other = self.host.add_device('0000:07:00.0', group=9)
        gate = self.kernel.hold('reset', '0000:06:0d.0')
        stuck = threading.Thread(target=self.write, args=('/sys/bus/pci/devices/0000:06:0d.0/reset', '1'))
        stuck.start()
        self.assertEqual(self.write('/sys/bus/pci/devices/0000:07:00.0/reset', '1'), 1)
        self.assertEqual(other.resets, 1)
        gate.let_go()
        stuck.join(10)


if __name__ == '__main__':
    harness.main()

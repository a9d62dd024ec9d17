#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile peers of a socket: slow, silent, deaf, many, or gone in the middle. Each costs itself only."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import harness
from harness import NOBODY, VfiodTestCase, needs_root, wait
from varlink_client import INTERFACE, Closed, Peer

PING = b'{"method":"io.systemd.service.Ping"}\0'
PATIENCE = 5  # seconds in which a well-behaved peer is answered, on a busy machine


class SiegeTestCase(VfiodTestCase):
    sockets = ('varlink',)

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='vfio-pci')
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))

    def peer(self):
        peer = Peer(self.socket_path())
        self.addCleanup(peer.close)
        return peer

    def fds(self):
        """How many the daemon has after what it was told before, and with one peer."""
        with Peer(self.socket_path()) as peer:
            peer.call('io.systemd.service.Ping')
            return len(os.listdir(f'/proc/{self.daemon.pid}/fd'))

    def start_warm(self):
        """How many fds the daemon has when it has done all that it does."""
        self.start()
        self.assert_serves()
        self.assert_serves(self.other)  # what claims read of a device stays open
        return self.fds()

    def assert_serves(self, device=None):
        began = time.monotonic()
        with Peer(self.socket_path()) as peer:
            reply, fds = peer.acquire(device or self.nic)
        self.assertLess(time.monotonic() - began, PATIENCE)
        for fd in fds.values():
            os.close(fd)
        wait(lambda: reply['claim'] + '.json' not in self.records(), 'the claim ends')

    def assert_forgets(self, before):
        """All that they had is free again, at the latest when another process has closed it."""
        end = time.monotonic() + harness.WAIT_TIMEOUT
        while self.fds() > before:
            self.assertLess(time.monotonic(), end, 'their fds stay open')

    def run_as_nobody(self, script, *arguments, **options):
        process = subprocess.Popen([sys.executable, '-c', script, self.socket_path(), *map(str, arguments)], user=NOBODY,
                                   group=NOBODY, extra_groups=[], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
                                   cwd='/', **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdin.close)
        return process


class MessageTest(SiegeTestCase):
    def test_gone_after_every_byte(self):
        before = self.start_warm()
        message = json.dumps({'method': f'{INTERFACE}.Acquire', 'parameters': {'devices': [self.other.name]}}).encode() + b'\0'
        for n in range(len(message) + 1):
            with Peer(self.socket_path()) as peer:
                peer.send_raw(message[:n])
        self.assert_serves()
        self.assert_forgets(before)
        wait(lambda: self.records() == [], 'no claim is left')

    def test_a_byte_at_a_time(self):
        self.start()
        slow = [self.peer() for _ in range(100)]
        for byte in PING:
            for peer in slow:
                peer.send_raw(bytes([byte]))
        self.assert_serves()
        for peer in slow:
            self.assertEqual(peer.reply()[0], {})

    def test_who_sends_half_a_message_is_closed(self):
        before = self.start_warm()
        peers = [self.peer() for _ in range(100)]
        for peer in peers:
            peer.send_raw(PING[:-1])
        self.assert_serves()
        for peer in peers:  # after 10 s
            self.assertTrue(peer.is_closed())
            peer.close()
        self.assert_forgets(before)

    def test_messages_that_nobody_would_send(self):
        before = self.start_warm()
        for data in (b'\0' * 65536, b'[' * 60000 + b'\0', b'{' * 70000, b'{"method":"' + b'a' * 60000 + b'"}\0', b'\xff' * 100 + b'\0',
                     b'{"method":1}\0', b'null\0', b'{"method":"x","parameters":' + b'{"a":' * 9000 + b'1' + b'}' * 9000 + b'}\0'):
            with self.peer() as peer:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    peer.send_raw(data)
                try:
                    while True:
                        self.assertIn('error', peer.receive()[0])
                        peer.socket.shutdown(socket.SHUT_WR)
                except Closed:
                    pass
        self.assert_serves()
        self.assert_forgets(before)


class CrowdTest(SiegeTestCase):
    CROWD = '''
import os, socket, sys
peers = []
refused = 0
for i in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    try:
        s.connect(sys.argv[1])
        s.sendall(b'{"method":"io.systemd.service.Ping"}' + bytes(1))
        if s.recv(100):
            peers.append(s)
            continue
    except (ConnectionResetError, BrokenPipeError):
        pass
    refused += 1
    s.close()
print(len(peers), refused, flush=True)
sys.stdin.read()
'''

    @needs_root
    def test_one_user_with_thousands_of_connections(self):
        before = self.start_warm()
        crowd = self.run_as_nobody(self.CROWD, 2000)
        kept, refused = map(int, crowd.stdout.readline().split())
        self.assertEqual(kept + refused, 2000)
        self.assertLessEqual(kept, 128)
        self.assertGreater(kept, 0)
        self.assert_serves()
        crowd.stdin.close()
        crowd.wait(20)
        self.assert_forgets(before)

    FORKS = '''
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
for _ in range(20):
    if os.fork() == 0:
        try:
            for _ in range(200):
                s.sendall(b'{"method":"io.systemd.service.Ping"}' + bytes(1))
        finally:
            os._exit(0)
print(1, flush=True)
sys.stdin.read()
'''

    @needs_root
    def test_many_processes_write_to_one_connection_and_read_nothing(self):
        before = self.start_warm()
        process = self.run_as_nobody(self.FORKS, start_new_session=True)
        process.stdout.readline()
        self.assert_serves()
        os.killpg(process.pid, signal.SIGKILL)
        self.assert_forgets(before)

    @needs_root
    def test_a_stopped_peer(self):
        """It is known as well as one that runs, and waits alone."""
        self.start()
        crowd = self.run_as_nobody(self.CROWD, 50)
        crowd.stdout.readline()
        crowd.send_signal(signal.SIGSTOP)
        self.assert_serves()
        script = 'import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(1, flush=True); ' \
                 's.sendall(b\'{"method":"io.systemd.service.Ping"}\' + bytes(1)); os.kill(os.getpid(), 19); s.recv(9); ' \
                 'print(2, flush=True)'
        stopped = self.run_as_nobody(script)
        stopped.stdout.readline()
        self.assert_serves()
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
        stopped.send_signal(signal.SIGCONT)
        self.assertEqual(stopped.stdout.readline(), '2\n')
        crowd.send_signal(signal.SIGCONT)


class FlightTest(SiegeTestCase):
    """Before the daemon is there, no kernel refuses files."""

    def test_hundreds_of_files(self):
        peer = self.peer()
        with open('/dev/null', 'rb') as f:
            socket.send_fds(peer.socket, [PING], [f.fileno()] * 250)
        before = self.start_warm()
        self.assertTrue(peer.is_closed())
        self.assert_serves()
        self.assert_forgets(before)

    def test_a_connection_that_holds_itself(self):
        """Its other end is in its own queue: nobody hangs up when the process has gone."""
        for _ in range(200):
            peer = Peer(self.socket_path())
            socket.send_fds(peer.socket, [b'{'], [peer.socket.fileno()])
            peer.socket.close()
        one, other = Peer(self.socket_path()), Peer(self.socket_path())
        socket.send_fds(one.socket, [b'{'], [other.socket.fileno()])
        socket.send_fds(other.socket, [b'{'], [one.socket.fileno()])
        one.socket.close()
        other.socket.close()
        self.start('--exit-idle=1')
        self.assertEqual(self.daemon.wait_exit(), 0)


class DeafTest(SiegeTestCase):
    """Who asks for much and reads nothing."""

    def test_lists_that_nobody_reads(self):
        for i in range(200):
            self.host.add_device(f'0000:{0x20 + i // 8:02x}:{i % 8:02x}.0', group=100 + i)
        before = self.start_warm()
        deaf = [self.peer() for _ in range(50)]
        for peer in deaf:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            for _ in range(20):
                peer.send('List', {'kinds': ['device']}, more=True)
        self.assert_serves()
        for peer in deaf:
            peer.close()
        self.assert_forgets(before)


if __name__ == '__main__':
    harness.main()

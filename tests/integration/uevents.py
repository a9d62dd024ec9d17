# SPDX-License-Identifier: LGPL-2.1-or-later
"""Announces devices to the programs of a testbed.

libumockdev-preload turns the netlink socket of a udev monitor into a Unix socket UMOCKDEV_DIR/eventN. Whatever is
sent there arrives as a message of udev, in the format of systemd's sd-device monitor: a header whose hashes the
monitor's socket filter looks at, then NAME=VALUE strings. It is written here, not by umockdev's own library, for two
reasons: the process of the test needs no preload, and a "remove" can be sent when the device is gone already.
"""

import contextlib
import glob
import itertools
import os
import queue
import socket
import struct
import threading

DELIVERY_TIMEOUT = 10  # seconds
MAGIC = 0xFEEDCAFE
HEADER = struct.Struct('=8s I III II II')


def string_hash32(text):
    """MurmurHash2 as sd-device uses it for the names of subsystems: seed 0, little endian."""
    data = text.encode()
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = len(data)
    whole = len(data) & ~3
    for (k,) in struct.iter_unpack('<I', data[:whole]):
        k = k * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, 'little')) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


def encode(properties):
    body = b''.join(f'{name}={value}'.encode() + b'\0' for name, value in properties.items())

    def hashed(value):
        return socket.htonl(string_hash32(value)) if value else 0

    header = HEADER.pack(b'libudev\0', socket.htonl(MAGIC), HEADER.size, HEADER.size, len(body),
                         hashed(properties['SUBSYSTEM']), hashed(properties.get('DEVTYPE')), 0, 0)
    return header + body


class UeventSender:
    """Sends in order and never makes its caller wait: a socket of a slow listener takes only a few messages (for
    netlink there is more room), and the caller has the kernel's lock, which the listener may be waiting for."""

    def __init__(self, root):
        self._root = root
        self._number = itertools.count(1)
        self._queue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._held = None
        self.sent = []  # (action, subsystem, devpath), in order
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def held_back(self):
        """udev is busy: what the kernel announces in this block arrives only at its end."""
        with self._lock:
            self._held = []
        try:
            yield
        finally:
            with self._lock:
                for message in self._held:
                    self._queue.put(message)
                self._held = None

    def close(self):
        self._queue.put(None)
        self._thread.join()

    def _deliver(self):
        while (message := self._queue.get()) is not None:
            for listener in glob.glob(os.path.join(glob.escape(self._root), 'event*')):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                    s.settimeout(DELIVERY_TIMEOUT)
                    try:
                        s.sendto(message, listener)
                    except (ConnectionRefusedError, FileNotFoundError):
                        pass  # its monitor was closed
                    except TimeoutError:
                        pass  # lost, as on a netlink socket that nobody reads

    def send(self, action, devpath, subsystem, **properties):
        """devpath is without /sys, as the kernel writes it."""
        with self._lock:
            number = next(self._number)
            self._write_number(number)
            self.sent.append((action, subsystem, devpath))
            message = encode({'ACTION': action, 'DEVPATH': devpath, 'SUBSYSTEM': subsystem, **properties,
                              'SEQNUM': number})
            if self._held is None:
                self._queue.put(message)
            else:
                self._held.append(message)

    def _write_number(self, number):
        path = os.path.join(self._root, 'sys/kernel/uevent_seqnum')
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o444)
        try:
            os.pwrite(fd, f'{number}\n'.encode(), 0)  # never shorter than the one before
        finally:
            os.close(fd)

# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of the bus that writes bytes: messages that no library would send, or not so many of."""

import os
import socket
import struct

METHOD_CALL, METHOD_RETURN, ERROR = 1, 2, 3


class Body(bytearray):
    """Little-endian D-Bus, in the order of the calls; each adds to the end and gives back the body."""

    def pad(self, n):
        self.extend(bytes(-len(self) % n))
        return self

    def u(self, number):
        self.pad(4).extend(struct.pack('<I', number))
        return self

    b = u

    def s(self, text):
        self.u(len(text)).extend(text.encode() + b'\0')
        return self

    o = s

    def g(self, text):
        self.extend(bytes([len(text)]) + text.encode() + b'\0')
        return self

    def array(self, alignment, fill):
        self.u(0)
        place = len(self)
        begin = len(self.pad(alignment))
        fill(self)
        struct.pack_into('<I', self, place - 4, len(self) - begin)
        return self

    def repeat(self, n, alignment, element):
        """n times the same element, which has this alignment."""
        last = Body()
        element(last)
        self.pad(alignment).extend(bytes(Body(last).pad(alignment)) * (n - 1) + last)
        return self


def call(serial, destination, path, interface, member, signature='', body=b''):
    head = Body(struct.pack('<cBBBII', b'l', METHOD_CALL, 0, 1, len(body), serial))

    def fill(_):
        for code, kind, value in ((1, 'o', path), (2, 's', interface), (3, 's', member), (6, 's', destination),
                                  (8, 'g', signature)):
            if value:
                head.pad(8).extend(bytes([code]))
                getattr(head.g(kind), kind)(value)
    return bytes(head.array(8, fill).pad(8)) + body


class RawClient:
    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(address.split('path=')[1])
        self._socket.sendall(b'\0AUTH EXTERNAL ' + str(os.geteuid()).encode().hex().encode() +
                             b'\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n')
        lines = b''
        while lines.count(b'\r\n') < 2:
            lines += self._socket.recv(1)
        self._serial = 0
        self.ask('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello')

    def _receive(self, n):
        data = b''
        while len(data) < n:
            more = self._socket.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _message(self):
        """(type, bytes) of the next one."""
        head = self._receive(16)
        fields, body = struct.unpack_from('<I', head, 12)[0], struct.unpack_from('<I', head, 4)[0]
        return head[1], head + self._receive(fields + -fields % 8 + body)

    def ask(self, destination, path, interface, member, signature='', body=b''):
        """The whole answer, as bytes; signals are left out."""
        self._serial += 1
        self._socket.sendall(call(self._serial, destination, path, interface, member, signature, body))
        while True:
            kind, message = self._message()
            if kind in (METHOD_RETURN, ERROR):
                return message

    def send_unread(self, n, *call_arguments):
        """n calls whose answers stay where they are."""
        for _ in range(n):
            self._serial += 1
            self._socket.sendall(call(self._serial, *call_arguments))

    def receive_answers(self, n):
        """Reads until n answers have come."""
        while n > 0:
            n -= self._message()[0] in (METHOD_RETURN, ERROR)

    def close(self):
        self._socket.close()

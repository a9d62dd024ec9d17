# SPDX-License-Identifier: LGPL-2.1-or-later
"""rtnetlink of a pretended host, as far as virtual functions go.

tests/fakes/fake-kernel.c connects the netlink socket of a worker to here: the messages are those of the kernel, bytes
for bytes. A physical function with an interface (host.add_interface_of()) answers RTM_GETLINK with what it keeps for
each of its functions, and takes RTM_SETLINK for one of them (net/core/rtnetlink.c: rtnl_fill_vfinfo(), do_setvfinfo()).

Faults are those of the kernel, "getlink" and "setlink" of the physical function; data of the latter is the name of the
attribute.
"""

import contextlib
import errno
import os
import socket
import struct
import threading

RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK = 16, 18, 19
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_DUMP = 0x300
IFLA_ADDRESS, IFLA_IFNAME, IFLA_VFINFO_LIST, IFLA_EXT_MASK = 1, 3, 22, 29
IFLA_VF_INFO = 1
IFLA_VF_MAC, IFLA_VF_VLAN, IFLA_VF_SPOOFCHK, IFLA_VF_TRUST, IFLA_VF_VLAN_LIST, IFLA_VF_BROADCAST = 1, 2, 4, 9, 12, 13
ETH_P_8021Q = 0x8100
NLMSG = struct.Struct('=IHHII')
LINK = struct.Struct('=BBHiII')
UNSUPPORTED = 0xFFFFFFFF


class Network:
    """What a card keeps for one function."""

    def __init__(self):
        self.mac, self.vlan, self.qos, self.protocol, self.spoofchk, self.trust = bytes(6), 0, 0, ETH_P_8021Q, 1, 0

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return f'{self.mac.hex(":")} vlan {self.vlan}/{self.qos}/{self.protocol:x} {self.spoofchk} {self.trust}'


def attribute(kind, data):
    size = 4 + len(data)
    return struct.pack('=HH', size, kind) + data + bytes(-size % 4)


def attributes(data):
    while len(data) >= 4:
        size, kind = struct.unpack_from('=HH', data)
        yield kind & 0x3FFF, data[4:size]
        data = data[size + -size % 4:]


def message(kind, sequence, body):
    return NLMSG.pack(NLMSG.size + len(body), kind, 0, sequence, 0) + body


class FakeNetlink:
    def __init__(self, kernel, address):
        self.kernel = kernel
        self.interfaces = {}  # number -> (name, physical function)
        self.unsupported = set()  # attributes that no driver knows: "spoofchk", "trust"
        self.hidden = set()  # functions that their driver does not list now
        self.ignored = set()  # that drivers take, and do not use
        self.peer = None  # the process that has asked last
        self.set_messages = []  # (function, attribute)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(address)
        os.chmod(address, 0o666)
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            self.peer = self.kernel.begin_call(connection)
            while packet := connection.recv(65536):
                try:
                    connection.send(self._answer(packet))
                finally:
                    self.kernel.end_call()

    def _answer(self, packet):
        _, kind, flags, sequence, _ = NLMSG.unpack_from(packet)
        if kind == RTM_GETLINK and flags & NLM_F_DUMP == NLM_F_DUMP:
            return message(NLMSG_DONE, sequence, bytes(4))  # the interfaces of the host: those of sysfs are enough
        index = LINK.unpack_from(packet, NLMSG.size)[3]
        body = packet[NLMSG.size + LINK.size:]
        try:
            if index not in self.interfaces:
                raise self.kernel.refuse(errno.ENODEV)
            if kind == RTM_GETLINK:
                return message(RTM_NEWLINK, sequence, self._get(index))
            self._set(index, body)
            return message(NLMSG_ERROR, sequence, struct.pack('=i', 0) + packet[:NLMSG.size])
        except self.kernel.refuse as e:
            return message(NLMSG_ERROR, sequence, struct.pack('=i', -e.error) + packet)

    def _get(self, index):
        name, pf = self.interfaces[index]
        self.kernel.run_faults('getlink', pf.address)
        functions = b''
        with self.kernel.changed:
            for number, function in enumerate(pf.functions):
                if function.address not in self.hidden:
                    functions += self._describe(number, function.network)
        return LINK.pack(0, 0, 1, index, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b'\0') + \
            attribute(IFLA_ADDRESS, pf.network.mac) + \
            attribute(IFLA_VFINFO_LIST, functions)

    def _describe(self, number, n):
        def switch(kind, name, value):
            return attribute(kind, struct.pack('=II', number, UNSUPPORTED if name in self.unsupported else value))
        data = attribute(IFLA_VF_MAC, struct.pack('=I32s', number, n.mac))
        data += attribute(IFLA_VF_BROADCAST, bytes([0xff] * 6).ljust(32, b'\0'))
        data += attribute(IFLA_VF_VLAN, struct.pack('=III', number, n.vlan, n.qos))
        data += switch(IFLA_VF_SPOOFCHK, 'spoofchk', n.spoofchk) + switch(IFLA_VF_TRUST, 'trust', n.trust)
        vlan = struct.pack('=III', number, n.vlan, n.qos) + struct.pack('>H', n.protocol) + bytes(2)
        return attribute(IFLA_VF_INFO, data + attribute(IFLA_VF_VLAN_LIST, attribute(1, vlan)))

    def _set(self, index, body):
        _, pf = self.interfaces[index]
        lists = [data for kind, data in attributes(body) if kind == IFLA_VFINFO_LIST]
        for kind, info in attributes(lists[0]):
            assert kind == IFLA_VF_INFO
            for kind, data in attributes(info):
                self._set_one(pf, kind, data)

    def _set_one(self, pf, kind, data):
        names = {IFLA_VF_MAC: 'mac', IFLA_VF_VLAN: 'vlan', IFLA_VF_VLAN_LIST: 'vlan', IFLA_VF_SPOOFCHK: 'spoofchk',
                 IFLA_VF_TRUST: 'trust'}
        if kind == IFLA_VF_VLAN_LIST:
            (_, data), = attributes(data)
        number, = struct.unpack_from('=I', data)
        self.kernel.run_faults('setlink', pf.address, names[kind])
        with self.kernel.changed:
            if number >= len(pf.functions):
                raise self.kernel.refuse(errno.EINVAL)
            if names[kind] in self.unsupported:
                raise self.kernel.refuse(errno.EOPNOTSUPP)
            n = pf.functions[number].network
            self.set_messages.append((pf.functions[number].address, names[kind]))
            if names[kind] in self.ignored:
                return
            if kind == IFLA_VF_MAC:
                n.mac = data[4:10]
            elif kind == IFLA_VF_VLAN:
                n.vlan, n.qos = struct.unpack_from('=II', data, 4)
                n.protocol = ETH_P_8021Q
            elif kind == IFLA_VF_VLAN_LIST:
                n.vlan, n.qos, n.protocol = *struct.unpack_from('=II', data, 4), *struct.unpack_from('>H', data, 12)
            else:
                setattr(n, names[kind], struct.unpack_from('=I', data, 4)[0])
            self.kernel.notify()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfiod's socket with nothing behind it, in a thread: answers of any bytes and any file descriptors, for tests of
clients. Calls are kept in `calls`; `answers` has what a method gets."""

import array
import contextlib
import json
import os
import pathlib
import socket
import threading

TOKEN = '83b8f4f2-509f-4382-8c1e-e6bfe0fa1001'
INTERFACE = 'org.vfiod.Broker'


class MockVarlink:
    """answers: method -> function(parameters, fds) -> (reply, fds). reply: an object, or bytes as they are; None closes
    the connection. The fds are closed after they were sent."""

    def __init__(self, directory):
        self.directory = directory
        self.path = f'{directory}/broker.socket'
        self.calls = []
        self.lifelines = {}  # id -> the end that is read
        self.pieces = 1      # into how many writes a reply is cut
        self.monitors = []   # connections that asked for Monitor
        self.connections = 0
        self.last_needs_token = False  # the last device of a claim is a virtual function that needs one
        self.busy = threading.Lock()  # held while a reply is sent and its fds are closed
        self.answers = {'Acquire': self.acquire, 'Release': lambda p, f: ({}, []), 'Plan': self.plan,
                        'AddDevices': self.add_devices, 'ReleaseDevices': lambda p, f: ({}, []),
                        'AnswerEviction': lambda p, f: ({}, []), 'ReadyToSleep': lambda p, f: ({}, []),
                        'Transfer': self.transfer, 'Monitor': self.monitor}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._open = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for s in self._open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        for fd in self.lifelines.values():
            os.close(fd)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self._listener.accept()
                self.connections += 1
                self._open.append(s)
                threading.Thread(target=self._serve, args=[s], daemon=True).start()

    def _serve(self, s):
        with contextlib.suppress(OSError):
            while (message := self._read(s)) is not None:
                call, fds = message
                method = call['method'].removeprefix(INTERFACE + '.')
                self.calls.append((method, call.get('parameters', {})))
                with self.busy:
                    if not self._reply(s, call, *self.answers[method](call.get('parameters', {}), fds)):
                        break
            s.shutdown(socket.SHUT_RDWR)

    def _read(self, s):
        data, fds = b'', []
        while not data.endswith(b'\0'):
            more, received, _, _ = socket.recv_fds(s, 65536, 10)
            fds += received
            if not more:
                return None
            data += more
        return json.loads(data[:-1]), fds

    def _reply(self, s, call, reply, fds):
        if call.get('more'):
            self.monitors.append(s)
        if reply is None:
            for fd in fds:
                os.close(fd)
            return False
        data = reply if isinstance(reply, bytes) else json.dumps(
            reply if 'error' in reply else {'parameters': reply}).encode() + b'\0'
        size = max(1, len(data) // self.pieces)
        try:
            for i in range(0, len(data), size):
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if i == 0 and fds else []
                s.sendmsg([data[i:i + size]], ancillary)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    # --- answers --------------------------------------------------------------------------------------------------

    def file(self, name):
        path = pathlib.Path(self.directory, 'fd:' + name)
        path.write_text(name)
        return os.open(path, os.O_RDWR)

    def named(self, names):
        """(the list of fds of a reply, the fds): the list is in reverse, so whoever ignores the index is found out."""
        fds = []
        for name in names:
            if name == 'lifeline':
                ours, theirs = os.pipe()
                self.lifelines[len(self.lifelines)] = ours
                fds.append(theirs)
            else:
                fds.append(self.file(name))
        return [{'name': n, 'fileDescriptorIndex': i} for i, n in reversed(list(enumerate(names)))], fds

    def full(self, devices):
        return [d if d.startswith('pci:') else 'pci:' + d for d in devices]

    def acquire(self, p, _):
        devices = self.full(p['devices'])
        listed, fds = self.named(['iommufd'] + ['device:' + d for d in devices] + ['lifeline'])
        tokens = {'vfTokens': [''] * (len(devices) - 1) + [TOKEN]} if self.last_needs_token else {}
        return {'claim': '0123456789abcdef', 'backend': 'iommufd', 'rule': 'one (/x.json:2)', 'devices': devices, **tokens,
                'fds': listed, 'laterVersion': {'a': [1, None]}}, fds

    def add_devices(self, p, _):
        devices = self.full(p['devices'])
        listed, fds = self.named(['device:' + d for d in devices])
        return {'devices': devices, 'fds': listed}, fds

    def transfer(self, p, fds):
        self.calls[-1] += (len(fds),)
        for fd in fds:
            os.close(fd)
        listed, mine = self.named([] if fds else ['lifeline'])
        return {'claim': '0123456789abcdef', 'backend': 'iommufd', 'rule': '', 'devices': [], 'fds': listed}, mine

    def plan(self, p, _):
        return {'plan': {'backend': 'iommufd', 'groups': [8], 'ask': False, 'x': [1.5, 'ü"\n', None, {}]}}, []

    def monitor(self, p, _):
        return {'event': 'present', 'kind': 'claim', 'claim': {'id': '0123456789abcdef', 'state': 'held'}}, []

    def report(self, **event):
        for s in self.monitors:
            s.sendall(json.dumps({'parameters': event, 'continues': True}).encode() + b'\0')

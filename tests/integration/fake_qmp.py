# SPDX-License-Identifier: LGPL-2.1-or-later
"""The monitor of a QEMU that does what it is asked, in a thread. Commands are kept in `commands` with the names of the
files that came with them."""

import contextlib
import json
import os
import queue
import socket
import threading


class FakeQmp:
    def __init__(self, directory, version=(9, 2), objects=()):
        self.path = f'{directory}/qmp.socket'
        self.commands = []
        self.done = queue.Queue()  # names of commands, when they were answered
        self.failures = {}         # command -> description of the error
        self.before = {}           # command, or id of a device -> the device that is deleted before the answer
        self.flood = False         # there is no greeting, and events never end
        self.fds = {}              # name -> content of the file, as QEMU keeps them until they are used
        self.objects = list(objects)
        self.greeting = {'QMP': {'version': {'qemu': {'major': version[0], 'minor': version[1], 'micro': 0}},
                                 'capabilities': ['oob']}}
        self._client = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        for s in (self._client, self._listener):
            if s:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
                s.close()

    def send(self, message):
        self._client.sendall(json.dumps(message).encode() + b'\r\n')

    def event(self, name, **data):
        self.send({'event': name, 'timestamp': {'seconds': 1, 'microseconds': 2}, 'data': data})

    def wait_for(self, command):
        while self.done.get(timeout=20) != command:
            pass

    def _serve(self):
        with contextlib.suppress(OSError):
            self._client, _ = self._listener.accept()
            while self.flood:
                self.event('RTC_CHANGE', offset=0)
            self.send(self.greeting)
            data = b''
            while True:
                more, fds, _, _ = socket.recv_fds(self._client, 65536, 8)
                if not more:
                    break
                data += more
                while b'\n' in data:
                    line, data = data.split(b'\n', 1)
                    self._execute(json.loads(line), fds)
                    fds = []

    def _execute(self, call, fds):
        name, arguments = call['execute'], call.get('arguments', {})
        contents = [os.pread(fd, 100, 0).decode() for fd in fds]
        for fd in fds:
            os.close(fd)
        self.commands.append((name, arguments, *contents))
        self.event('RTC_CHANGE', offset=0)  # events come whenever they like
        for key in (name, arguments.get('id')):
            if key in self.before:
                self.event('DEVICE_DELETED', device=self.before.pop(key))
        if name in self.failures:
            self.send({'error': {'class': 'GenericError', 'desc': self.failures[name]}})
        else:
            if name == 'getfd':
                self.fds[arguments['fdname']], = contents
            if name == 'closefd':
                self.fds.pop(arguments['fdname'])
            if 'fd' in arguments:
                self.fds.pop(arguments['fd'])
            objects = [{'name': n, 'type': 'child<iommufd>'} for n in self.objects]
            self.send({'return': [{'name': 'type', 'type': 'string'}, *objects] if name == 'qom-list' else {}})
        self.done.put(name)

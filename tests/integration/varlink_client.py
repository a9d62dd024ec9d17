# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Varlink client that can also send what no library would send. Blocking, with a time-out."""

import array
import contextlib
import json
import os
import socket
import subprocess
import sys

import harness
from harness import CALL_TIMEOUT, VfiodTestCase
from varlink_description import check_reply

INTERFACE = 'org.vfiod.Broker'
SERVICE = 'org.varlink.service'


class VarlinkError(Exception):
    def __init__(self, reply):
        super().__init__(json.dumps(reply))
        self.name, self.parameters = reply['error'], reply.get('parameters') or {}


class Closed(Exception):
    """The other side has hung up."""


class Peer:
    def __init__(self, path, buffer=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(CALL_TIMEOUT)
        self.socket.connect(path)
        self.data = b''
        self.fds = []  # of the first message in data
        self.called = []  # methods whose replies are to come; None: only bytes were sent, and nobody knows

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- bytes ----------------------------------------------------------------------------------------------------

    def send_raw(self, data, fds=()):
        self.called = None
        self._send(data, fds)

    def _send(self, data, fds=()):
        if fds:
            self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
        else:
            self.socket.sendall(data)

    def _receive(self, size):
        fds = array.array('i')
        data, ancillary, flags, _ = self.socket.recvmsg(size, socket.CMSG_LEN(253 * fds.itemsize),
                                                        socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
        if fds and self.data:
            raise AssertionError('fds in the middle of a message')
        if not data:
            raise Closed
        self.data += data
        self.fds += fds

    def receive(self, size=65536):
        """The next message and its fds."""
        while b'\0' not in self.data:
            try:
                self._receive(size)
            except (ConnectionResetError, BrokenPipeError):
                raise Closed from None
        text, self.data = self.data.split(b'\0', 1)
        fds, self.fds = self.fds, []
        message = json.loads(text)
        self._check(message)
        return message, fds

    def _check(self, message):
        """Every reply is as the contract declares."""
        if self.called:
            check_reply(self.called[0], message)
            if not message.get('continues'):
                self.called.pop(0)

    def is_closed(self):
        """Waits until the other side says something or hangs up."""
        try:
            reply, fds = self.receive()
        except Closed:
            return True
        for fd in fds:
            os.close(fd)
        raise AssertionError(f'it said {reply}')

    # --- calls ----------------------------------------------------------------------------------------------------

    def send(self, method, parameters=None, **flags):
        message = {'method': method if '.' in method else f'{INTERFACE}.{method}', **flags}
        if parameters is not None:
            message['parameters'] = parameters
        if self.called is not None and flags.get('oneway') is not True:
            self.called.append(message['method'])
        self._send(json.dumps(message).encode() + b'\0')

    def reply(self):
        """The parameters of the next reply, and its fds by name."""
        message, fds = self.receive()
        if 'error' in message:
            assert not fds and set(message) <= {'error', 'parameters'}, message
            raise VarlinkError(message)
        assert set(message) <= {'parameters', 'continues'}, message
        parameters = message.get('parameters', {})
        named = {fd['name']: fds[fd['fileDescriptorIndex']] for fd in parameters.get('fds', [])}
        assert len(named) == len(fds)
        self.continues = message.get('continues', False)
        return parameters, named

    def call(self, method, parameters=None, **flags):
        self.send(method, parameters, **flags)
        parameters, fds = self.reply()
        assert not fds
        return parameters

    def acquire(self, *devices, **options):
        """(the reply, fds by name, which are the caller's)"""
        self.send('Acquire', {'devices': [getattr(d, 'name', d) for d in devices], **options})
        return self.reply()

    def stream(self, method, parameters=None):
        """All replies of a call with "more"."""
        self.send(method, parameters, more=True)
        while True:
            parameters, fds = self.reply()
            assert not fds
            yield parameters
            if not self.continues:
                return


class VarlinkTestCase(VfiodTestCase):
    sockets = ('varlink',)

    def peer(self, name='varlink', **options):
        peer = Peer(self.socket_path(name), **options)
        self.addCleanup(peer.close)
        return peer

    def run_as_nobody(self, script):
        """What a program of another user prints; sys.argv[2] is the path of the socket."""
        script = 'import json, sys; sys.path.insert(0, sys.argv[1]); from varlink_client import Peer\n' + script
        process = subprocess.run([sys.executable, '-c', script, os.path.dirname(__file__), self.socket_path()],
                                 user=harness.NOBODY, group=harness.NOBODY, extra_groups=[], capture_output=True,
                                 text=True, timeout=harness.TEST_TIMEOUT)
        return process.stdout or process.stderr

    def as_nobody(self, method, parameters=None):
        """What another user is answered, as JSON; or a traceback with the error."""
        return self.run_as_nobody(f'with Peer(sys.argv[2]) as peer: print(json.dumps(peer.call({method!r}, {parameters!r})))')

    @contextlib.contextmanager
    def fails(self, error, *words, **parameters):
        with self.assertRaises(VarlinkError) as caught:
            yield caught
        e = caught.exception
        self.assertEqual(e.name, error if '.' in error else f'{INTERFACE}.{error}', e.parameters)
        for word in words:
            self.assertIn(word, e.parameters['message'])
        for key, value in parameters.items():
            self.assertEqual(e.parameters[key], value)

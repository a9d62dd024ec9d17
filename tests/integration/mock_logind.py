# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.freedesktop.login1 as far as vfiod uses it: who delays the sleep of the host, and when it comes."""

import os

import dbus
import dbus.service

from mock_service import MockService

NAME = 'org.freedesktop.login1'
PATH = '/org/freedesktop/login1'
INTERFACE = NAME + '.Manager'


class MockLogind(MockService):
    def __init__(self, address, delay_usec=30000000):
        self.delay_usec = delay_usec
        self.locks = []  # our ends of the pipes
        super().__init__(address, NAME, PATH)

    def close(self):
        super().close()
        for fd in self.locks:
            os.close(fd)
        self.locks.clear()

    def is_delayed(self):
        """Does anybody still have one of the locks?"""
        return any(self._is_open(fd) for fd in self.locks)

    @staticmethod
    def _is_open(fd):
        try:
            return os.read(fd, 1) != b''
        except BlockingIOError:
            return True

    def sleep(self, begins):
        self.PrepareForSleep(begins)

    @dbus.service.method(INTERFACE, in_signature='ssss', out_signature='h')
    def Inhibit(self, what, who, why, mode):
        assert (what, who, mode) == ('sleep', 'vfiod', 'delay'), (what, who, mode)
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.locks.append(ours)
        fd = dbus.types.UnixFd(theirs)
        os.close(theirs)
        return fd

    @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature='ss', out_signature='v')
    def Get(self, interface, name):
        assert (interface, name) == (INTERFACE, 'InhibitDelayMaxUSec')
        return dbus.UInt64(self.delay_usec)

    @dbus.service.signal(INTERFACE, signature='b')
    def PrepareForSleep(self, begins):
        pass

# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.freedesktop.systemd1 as far as vfiod uses it to scrub devices. Lives in the test's own process and main loop: a job
is under way until the test ends it."""

import dbus
import dbus.service

from mock_service import MockService

NAME = 'org.freedesktop.systemd1'
PATH = '/org/freedesktop/systemd1'
INTERFACE = NAME + '.Manager'


class NoSuchUnit(dbus.DBusException):
    _dbus_error_name = NAME + '.NoSuchUnit'


class MockSystemd(MockService):
    def __init__(self, address):
        self.jobs = []  # (path, unit), in the order in which they were begun
        self.missing = set()
        self.deaf = False  # it starts units, and does not answer
        super().__init__(address, NAME, PATH)

    @dbus.service.method(INTERFACE, in_signature='ss', out_signature='o', async_callbacks=('answer', 'fail'))
    def StartUnit(self, unit, mode, answer, fail):
        if unit in self.missing:
            fail(NoSuchUnit(f'Unit {unit} not found.'))
            return
        path = f'{PATH}/job/{len(self.jobs) + 1}'
        self.jobs.append((path, str(unit)))
        if not self.deaf:
            answer(dbus.ObjectPath(path))

    @dbus.service.signal(INTERFACE, signature='uoss')
    def JobRemoved(self, number, path, unit, result):
        pass

    def end(self, job, result='done'):
        path, unit = self.jobs[job]
        self.JobRemoved(dbus.UInt32(job + 1), dbus.ObjectPath(path), unit, result)

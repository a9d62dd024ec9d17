# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.freedesktop.PolicyKit1 as far as vfiod uses it. Lives in the test's own process and main loop: it keeps every
question open until the test answers."""

import dbus
import dbus.service

from mock_service import MockService

NAME = 'org.freedesktop.PolicyKit1'
PATH = '/org/freedesktop/PolicyKit1/Authority'
INTERFACE = NAME + '.Authority'


class Question:
    def __init__(self, subject, action, details, flags, cancellation, reply, fail):
        self.subject = (str(subject[0]), {str(k): v for k, v in subject[1].items()})
        self.action, self.interactive, self.cancellation = str(action), bool(flags & 1), str(cancellation)
        self.details = {str(k): str(v) for k, v in details.items()}
        self.fail = fail
        self._reply = reply
        self.cancelled = False

    def answer(self, yes, challenge=False, **details):
        self._reply(dbus.Struct((yes, challenge, dbus.Dictionary(details, signature='ss')), signature='bba{ss}'))


class MockPolkit(MockService):
    def __init__(self, address):
        self.questions = []
        super().__init__(address, NAME, PATH)

    @dbus.service.method(INTERFACE, in_signature='(sa{sv})sa{ss}us', out_signature='(bba{ss})',
                         async_callbacks=('reply', 'fail'))
    def CheckAuthorization(self, subject, action, details, flags, cancellation, reply, fail):
        self.questions.append(Question(subject, action, details, flags, cancellation, reply, fail))

    @dbus.service.method(INTERFACE, in_signature='s', out_signature='')
    def CancelCheckAuthorization(self, cancellation):
        for question in self.questions:
            if question.cancellation == cancellation:
                question.cancelled = True

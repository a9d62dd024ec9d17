#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who asks: a client in another namespace is recognised, and told so."""

import os
import subprocess
import sys
import unittest

import harness
from harness import NAME, ROOT_PATH, VfiodTestCase

# A client that can be started anywhere: prints the error of an Acquire, or "granted".
CLIENT = f'''
import sys, dbus, dbus.bus
try:
    dbus.bus.BusConnection(sys.argv[1]).call_blocking(
        "{NAME}", "{ROOT_PATH}", "{NAME}.Manager", "Acquire", "asa{{sv}}", ([sys.argv[2]], {{}}), 20)
    print("granted")
except dbus.DBusException as e:
    print(e)
'''


def may_unshare(*what):
    return (os.getuid() == 0 and
            subprocess.run(['unshare', *what, 'true'], stderr=subprocess.DEVNULL).returncode == 0)


class NamespaceTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.set_policy([])

    def ask(self, *unshare):
        self.start()
        command = [*unshare, sys.executable, '-c', CLIENT, self.bus.address, self.nic.name]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout

    def test_the_host_is_not_mentioned(self):
        answer = self.ask()
        self.assertIn(f'allows it to uid {os.getuid()}', answer)
        self.assertNotIn('namespace', answer)

    @unittest.skipUnless(may_unshare('-Ur'), 'no user namespaces here')
    def test_another_user_namespace(self):
        self.assertIn('uid 0 in another user namespace', self.ask('unshare', '-Ur'))
        log = os.pread(self.log.fileno(), 65536, 0).decode()
        self.assertIn('Refused uid 0 in another user namespace (AccessDenied)', log)

    @unittest.skipUnless(may_unshare('-pf'), 'no pid namespaces here')
    def test_another_pid_namespace(self):
        self.assertIn('uid 0 in another pid namespace', self.ask('unshare', '-pf'))

    @unittest.skipUnless(may_unshare('-Urpf'), 'no namespaces here')
    def test_both(self):
        self.assertIn('uid 0 in another user and pid namespace', self.ask('unshare', '-Urpf'))


if __name__ == '__main__':
    harness.main()

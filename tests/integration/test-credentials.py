#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who asks: a client in another namespace is recognised, and told so."""

import os
import pathlib
import shutil
import struct
import subprocess
import sys
import time
import unittest

import harness
from harness import NAME, ROOT_PATH, VfiodTestCase, find_hierarchy

# A client that can be started anywhere: prints the error of an Acquire, or "granted". What is in argv[3] and argv[4] is
# run before it connects, and before it asks.
CLIENT = f'''
import os, sys, dbus, dbus.bus
exec(sys.argv[3])
bus = dbus.bus.BusConnection(sys.argv[1])
exec(sys.argv[4])
try:
    bus.call_blocking("{NAME}", "{ROOT_PATH}", "{NAME}.Manager", "Acquire", "asa{{sv}}", ([sys.argv[2]], {{}}), 20)
    print("granted")
except dbus.DBusException as e:
    print(e)
'''


def may_unshare(*what):
    return (os.getuid() == 0 and
            subprocess.run(['unshare', *what, 'true'], stderr=subprocess.DEVNULL).returncode == 0)


class CredentialsTestCase(VfiodTestCase):
    policy = []

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.set_policy(self.policy)

    def ask(self, *wrapper, before='', between='', program=sys.executable):
        self.start()
        command = [*wrapper, program, '-c', CLIENT, self.bus.address, self.nic.name, before, between]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout


class NamespaceTest(CredentialsTestCase):

    def test_the_host_is_not_mentioned(self):
        answer = self.ask()
        self.assertIn(f'allows it to uid {os.getuid()}', answer)
        self.assertNotIn('namespace', answer)

    @unittest.skipUnless(may_unshare('-Ur'), 'no user namespaces here')
    def test_another_user_namespace(self):
        self.assertIn('uid 0 in another user namespace', self.ask('unshare', '-Ur'))
        self.wait_logged('Refused uid 0 in another user namespace (AccessDenied)')

    @unittest.skipUnless(may_unshare('-pf'), 'no pid namespaces here')
    def test_another_pid_namespace(self):
        self.assertIn('uid 0 in another pid namespace', self.ask('unshare', '-pf'))

    @unittest.skipUnless(may_unshare('-Urpf'), 'no namespaces here')
    def test_both(self):
        self.assertIn('uid 0 in another user and pid namespace', self.ask('unshare', '-Urpf'))


class NamespaceRuleTest(CredentialsTestCase):
    policy = [{'name': 'here', 'effect': 'allow', 'who': {'namespace': 'host'}, 'what': {}}]

    def test_the_host(self):
        self.assertEqual(self.ask(), 'granted\n')

    @unittest.skipUnless(may_unshare('-pf'), 'no pid namespaces here')
    def test_another(self):
        self.assertIn('uid 0 in another pid namespace', self.ask('unshare', '-pf'))


@unittest.skipUnless(os.getuid() == 0, 'only root has capabilities')
class CapabilityTest(CredentialsTestCase):
    """The capability must be the process's own, and the host's."""
    policy = [{'name': 'capable', 'effect': 'allow', 'who': {'capability': 'CAP_CHOWN'}, 'what': {}}]

    def test_who_has_it(self):
        self.assertEqual(self.ask(), 'granted\n')

    def test_who_gave_it_up(self):
        self.assertIn('AccessDenied', self.ask('setpriv', '--bounding-set=-chown', '--inh-caps=-chown'))

    def test_another_user(self):
        self.assertIn('AccessDenied', self.ask('setpriv', f'--reuid={harness.NOBODY}', '--clear-groups'))

    @unittest.skipUnless(may_unshare('-Ur'), 'no user namespaces here')
    def test_all_capabilities_of_another_namespace(self):
        self.assertIn('AccessDenied', self.ask('unshare', '-Ur'))

    def test_a_service_of_another_user_that_has_it(self):
        self.assertEqual(self.ask('setpriv', f'--reuid={harness.NOBODY}', '--clear-groups', '--inh-caps=+chown',
                                  '--ambient-caps=+chown'), 'granted\n')

    def test_a_program_that_lends_it(self):
        # Anybody may execute it and leave the connection to a child: it says nothing about the caller.
        program = f'{self.directory}/python'
        shutil.copy(os.path.realpath(sys.executable), program)
        version_2_effective, chown = 0x02000001, 1 << 0
        try:
            os.setxattr(program, 'security.capability', struct.pack('<IIIII', version_2_effective, chown, 0, 0, 0))
        except OSError as e:
            self.skipTest(f'no capabilities of files here: {e}')
        self.assertIn('AccessDenied', self.ask('setpriv', f'--reuid={harness.NOBODY}', '--clear-groups', program=program))

    def test_a_setuid_program_executed_after_connecting(self):
        # What is left of the caller then is its real uid; who it was for the bus, it still is.
        nobody = harness.NOBODY
        self.assertIn('AccessDenied', self.ask(before=f'os.setresuid({nobody}, {nobody}, 0)', between='os.seteuid(0)'))


LAST_PID = pathlib.Path('/proc/sys/kernel/ns_last_pid')

# The process that connects ends, and a child asks with its connection as soon as it hears of that.
HEIR = f'''
import os, sys, dbus.bus, dbus.lowlevel
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import rawbus
client = rawbus.RawClient(sys.argv[1])
print(os.getpid(), flush=True)
if os.fork() == 0:
    sys.stdin.readline()
    body = rawbus.Body().array(4, lambda b: b.s(sys.argv[2])).array(8, lambda b: None)
    print(client.ask("{NAME}", "{ROOT_PATH}", "{NAME}.Manager", "Plan", "asa{{sv}}", body), flush=True)
os._exit(0)
'''


@unittest.skipUnless(os.getuid() == 0 and LAST_PID.exists(), 'pids cannot be chosen here')
class PidTest(CredentialsTestCase):
    policy = [{'name': 'here', 'effect': 'allow', 'who': {'namespace': 'host'}, 'what': {}}]

    def take_pid(self, pid):
        """Starts a program with this pid, in a later tick of the kernel's clock."""
        end = time.monotonic() + 2 / os.sysconf('SC_CLK_TCK')
        while time.monotonic() < end:
            pass
        for _ in range(200):  # others start programs, too
            LAST_PID.write_text(str(pid - 1))
            process = subprocess.Popen(['sleep', '60'])
            if process.pid == pid:
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
                return
            process.kill()
            process.wait()
        self.skipTest('others are faster')

    def heir(self):
        process = self.tool(sys.executable, '-c', HEIR, self.bus.address, self.nic.name, stdin=subprocess.PIPE)
        self.addCleanup(process.stdin.close)
        pid = int(process.stdout.readline())
        process.wait(20)
        return process, pid

    def answer(self, process):
        process.stdin.write('\n')
        process.stdin.flush()
        return process.stdout.readline()

    def test_a_process_that_has_ended(self):
        self.start()
        process, _ = self.heir()
        self.assertIn('AccessDenied', self.answer(process))

    def test_another_process_has_its_pid(self):
        self.start()
        process, pid = self.heir()
        self.client().plan(self.nic)  # a client that came later, and is known before the pid is used again
        self.take_pid(pid)
        self.assertIn('AccessDenied', self.answer(process))

    def test_another_process_has_the_pid_of_a_client_that_has_not_asked_yet(self):
        """And nobody has connected since. The bus has announced the client."""
        self.start()
        process, pid = self.heir()
        self.take_pid(pid)
        self.assertIn('AccessDenied', self.answer(process))

    def test_another_process_has_the_pid_of_a_client_from_before_the_daemon(self):
        process, pid = self.heir()
        self.start()
        self.take_pid(pid)
        self.assertIn('AccessDenied', self.answer(process))


class CgroupTest(CredentialsTestCase):
    policy = [{'name': 'vm', 'effect': 'allow', 'who': {'unit': 'vfiod-test.service'}, 'what': {}}]

    def ask_from(self, hierarchy, *names):
        """As a process in these groups, each below the one before."""
        path = self.make_cgroup(hierarchy, *names)
        return self.ask(before=f'open({str(path / "cgroup.procs")!r}, "w").write("0")')

    @unittest.skipUnless(find_hierarchy('unified'), 'no control groups here')
    def test_a_unit(self):
        self.assertEqual(self.ask_from(find_hierarchy('unified'), 'vfiod-test.service', 'payload'), 'granted\n')

    @unittest.skipUnless(find_hierarchy('unified'), 'no control groups here')
    def test_below_what_systemd_has_not_made(self):
        answer = self.ask_from(find_hierarchy('unified'), 'vfiod-test-container', 'vfiod-test.service')
        self.assertIn('AccessDenied', answer)

    @unittest.skipUnless(find_hierarchy('systemd') and find_hierarchy('unified'), 'only one hierarchy here')
    def test_a_name_that_looks_like_another_line(self):
        # A carriage return is no end of a line; the line of the older hierarchy comes first.
        answer = self.ask_from(find_hierarchy('systemd'), 'u\r0::', 'vfiod-test.service')
        self.assertIn('AccessDenied', answer)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Facts whose look sleeps in the kernel: whoever needs them waits, and everybody else is served."""

import contextlib
import glob
import json
import os
import pwd
import re
import signal

import dbus

import harness
import rawbus
from harness import ERROR, NAME, ROOT_PATH, Pending, VfiodTestCase, identity, wait
from host import ACS_ISOLATES, ROOT_PORT, VFIO


class HeldConfig:
    """Whoever opens the config space of a device sleeps, until let_go()."""

    def __init__(self, host, device):
        self.path = f'{host.root}{device.path}/config'
        self.fifo = self.path + '.held'
        os.rename(self.path, self.path + '.kept')
        os.mkfifo(self.path)
        self._writer = None

    def let_go(self):
        """Who sleeps cannot read it; who comes later can."""
        os.rename(self.path, self.fifo)
        os.rename(self.path + '.kept', self.path)
        self._writer = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)

    def close(self):
        if self._writer is not None:
            os.close(self._writer)


class SlowTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.port = self.host.add_device('0000:00:1c.0', group=1, driver='pcieport', class_code=0x060400,
                                         port_type=ROOT_PORT, acs=ACS_ISOLATES)
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO, parent=self.port)
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        isolated = {**self.rule('isolated', device='pci:0000:06:00.0')}
        isolated['what']['isolation'] = {'acs': True}
        self.set_policy([isolated, self.rule('other', device='pci:0000:07:00.0')])
        self._held = None
        self.addCleanup(self.let_go)

    def hold(self, device):
        self._held = HeldConfig(self.host, device)
        self.addCleanup(self._held.close)

    @harness.needs_root
    def test_busy_connections_do_not_keep_others_out(self):
        """Six users have as many of them as the daemon knows in all, and each has a call under way."""
        self.set_policy([{'name': 'all', 'effect': 'allow', 'who': {},
                          'what': {'device': 'pci:0000:06:00.0', 'isolation': {'acs': True}}},
                         self.rule('other', device='pci:0000:07:00.0')])
        self.start()
        c = self.client()
        self.hold(self.port)
        body = rawbus.Body().array(4, lambda a: a.s(self.nic.name)).array(8, lambda a: None)
        for uid in sorted({p.pw_uid for p in pwd.getpwall()} - {0})[:6]:  # the bus knows them
            with identity(uid):
                many = [rawbus.RawClient(self.bus.address) for _ in range(64)]
            for raw in many:
                self.addCleanup(raw.close)
                raw.send_unread(1, NAME, ROOT_PATH, f'{NAME}.Manager', 'Plan', 'asa{sv}', bytes(body))
        others = [self.client() for _ in range(3)]
        for other in others:
            self.assertEqual(other.manager('GetDevice', 's', self.other.name), harness.device_path(self.other.name))
        self.assert_others_are_served(c)
        self.let_go()
        for raw in many:
            raw.receive_answers(1)

    def let_go(self):
        if self._held:
            self._held.let_go()
        self._held = None

    def later(self, client, method, signature, *arguments):
        pending = Pending()
        client.connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', method, signature, arguments,
                                     lambda *r: pending.reply(*r), pending.fail, harness.CALL_TIMEOUT)
        return pending

    def assert_others_are_served(self, client):
        client.call(ROOT_PATH, 'org.freedesktop.DBus.Peer', 'Ping', '')
        claim = client.acquire(self.other)
        claim.close()
        self.wait_gone(claim)

    def assert_answered(self, pending):
        """Whoever could not read it does not know whether the device is isolated."""
        wait(lambda: pending.done, 'the answer')
        if pending.error:
            self.assertEqual(pending.error.get_dbus_name(), ERROR + 'AccessDenied')
        return pending.value

    def assert_claim_answered(self, pending):
        for claim in self.assert_answered(pending) or ():
            claim.close()
            self.wait_gone(claim)

    def test_known_when_it_answers(self):
        self.start()
        self.client().acquire(self.nic).close()

    def test_a_claim_waits_alone(self):
        self.start()
        c, d = self.client(), self.client()
        self.hold(self.port)
        pending = c.acquire_later(self.nic)
        self.assert_others_are_served(d)
        self.assertFalse(pending.done)
        self.assertEqual(d.get(ROOT_PATH, 'Manager', 'Claims'), 0)
        self.let_go()
        self.assert_claim_answered(pending)
        c.acquire(self.nic).close()

    def test_questions_wait_alone(self):
        self.start()
        c, d = self.client(), self.client()
        self.hold(self.port)
        plan = self.later(c, 'Plan', 'asa{sv}', [self.nic.name], {})
        explain = self.later(c, 'Explain', 'asa{sv}', [self.nic.name], {})
        self.assert_others_are_served(d)
        self.assertFalse(plan.done or explain.done)
        self.let_go()
        self.assert_answered(plan)
        wait(lambda: explain.done, 'the explanation')
        self.assertIn(json.loads(explain.value[0])['effect'], ('deny', 'allow'))

    def test_a_reader_of_a_property_waits_alone(self):
        self.start()
        self.hold(self.port)
        reader, c = self.client(), self.client()
        path = harness.device_path(self.nic.name)
        pending = Pending()
        reader.connection.call_async(NAME, path, harness.PROPERTIES, 'Get', 'ss', (NAME + '.Device', 'AcsPath'),
                                     pending.reply, pending.fail, harness.CALL_TIMEOUT)
        self.assert_others_are_served(c)
        self.assertFalse(pending.done)
        self.let_go()
        wait(lambda: pending.done, 'the answer')
        self.assertIsNone(pending.error)
        self.assertEqual(str(c.get(path, 'Device', 'AcsPath')[0]), 'complete')

    def test_many_questions_cost_one_worker(self):
        self.start()
        c = self.client()
        self.hold(self.port)
        pending = [self.later(c, 'Plan', 'asa{sv}', [self.nic.name], {}) for _ in range(20)]
        self.assert_others_are_served(c)
        self.assertLessEqual(len(self.workers()), 3)
        self.let_go()
        for p in pending:
            self.assert_answered(p)

    def processes(self, option):
        """Those of the daemon that were started with this option."""
        result, parents = [], [self.daemon.process.pid]
        while parents:
            parent = parents.pop()
            for path in glob.glob(f'/proc/{parent}/task/*/children'):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path) as file:
                    parents += file.read().split()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                    open(f'/proc/{parent}/cmdline') as file:
                if file.read().split('\0')[1:2] == [option]:
                    result.append(parent)
        return result

    def spawner(self):
        """The daemon may be ready before its child has become another program."""
        while not (found := self.processes('--spawner')):
            os.sched_yield()
        return int(found[0])

    def workers(self):
        return self.processes('--worker')

    def test_a_property_waits_alone(self):
        self.start()
        c, d = self.client(), self.client()
        self.assertEqual(c.get(harness.device_path(self.nic.name), 'Device', 'AcsPath'), ('complete', ''))
        self.hold(self.port)
        pending = Pending()
        c.connection.call_async(NAME, harness.device_path(self.nic.name), harness.PROPERTIES, 'Get', 'ss',
                                (NAME + '.Device', 'AcsPath'), pending.reply, pending.fail, harness.CALL_TIMEOUT)
        self.assert_others_are_served(d)
        self.assertFalse(pending.done)
        self.let_go()
        wait(lambda: pending.done, 'the answer')
        self.assertIn(pending.value[0][0], ('unknown', 'complete'))
        self.assertEqual(d.get(harness.device_path(self.nic.name), 'Device', 'HostCritical'), '')

    def test_a_spawner_that_dies_is_no_loss(self):
        self.start()
        c = self.client()
        spawner = self.spawner()
        os.kill(spawner, signal.SIGKILL)
        c.acquire(self.other).close()
        c.acquire(self.nic).close()  # here config space shows everything to everybody

    def test_a_spawner_that_dies_over_a_question(self):
        self.start()
        c = self.client()
        spawner = self.spawner()
        os.kill(spawner, signal.SIGSTOP)
        answers = [self.later(c, 'Plan', 'asa{sv}', [device.name], {}) for device in (self.other, self.nic)]
        c.manager('GetGroup', 'u', self.nic.group)  # comes later: the spawner has been asked by now
        os.kill(spawner, signal.SIGKILL)
        for answer in answers:
            self.assert_answered(answer)
        c.acquire(self.nic).close()

    def is_told(self, words):
        return any(words in m.get('STATUS', '') for m in self.manager.messages)

    def test_a_spawner_that_dies_is_replaced(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        gates = self.host.hold_binding(self.other)
        answer = c.acquire_later(self.other)
        wait(lambda: gates.entered, 'the bind is under way')
        old = self.spawner()
        os.kill(old, signal.SIGKILL)
        wait(lambda: self.is_told('The spawner has died'), 'it is told')
        self.assertFalse(os.path.exists(f'/proc/{old}'))
        wait(lambda: self.is_told('after the claims in progress'), 'nobody loses a claim')
        gates.let_go()
        wait(lambda: answer.done, 'the caller gets an answer')
        self.assertIsNone(answer.error)
        self.assertEqual(self.daemon.wait_exit(), 75)
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual(claim.state, 'held')
        self.assertNotEqual(self.spawner(), old)

    @harness.needs_root
    def test_who_has_which_capability(self):
        self.start()
        self.client().acquire(self.nic).close()
        spawner = self.spawner()

        def has_admin(pid):
            with open(f'/proc/{pid}/status') as file:
                return int(re.search(r'CapPrm:\s*(\w+)', file.read()).group(1), 16) >> 21 & 1

        self.assertFalse(has_admin(self.daemon.process.pid))
        self.assertEqual(has_admin(spawner), has_admin('self'))

    def test_the_caller_goes_meanwhile(self):
        self.start()
        c, d = self.client(), self.client()
        self.hold(self.port)
        c.acquire_later(self.nic)
        self.later(c, 'Plan', 'asa{sv}', [self.nic.name], {})
        c.close()
        self.assert_others_are_served(d)
        self.let_go()
        self.assert_claim_answered(d.acquire_later(self.nic))
        d.acquire(self.nic).close()

    def test_no_answer_in_time_is_unknown(self):
        self.start('--worker-timeout=1')
        c = self.client()
        self.hold(self.port)
        with self.assertRaises(dbus.DBusException) as raised:
            c.plan(self.nic)
        self.assertEqual(raised.exception.get_dbus_name(), ERROR + 'AccessDenied')
        # It is not asked again at once: another worker would not return.
        with self.assertRaises(dbus.DBusException):
            c.plan(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(len(self.log_lines('has been stuck in the kernel')), 1)

    def test_the_device_goes_meanwhile(self):
        self.start()
        c, d = self.client(), self.client()
        self.hold(self.port)
        pending = c.acquire_later(self.nic)
        self.assert_others_are_served(d)  # by workers that were asked later: the first one sleeps by now
        self.host.remove_device(self.nic).join()
        wait(lambda: d.seen('InterfacesRemoved', harness.device_path(self.nic.name)), 'it is gone')
        self.let_go()
        wait(lambda: pending.done, 'the answer')
        self.assertEqual(pending.error.get_dbus_name(), ERROR + 'NoSuchDevice')


if __name__ == '__main__':
    harness.main()

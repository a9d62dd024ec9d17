#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a rule has done to a device between two claims: the operator's unit runs, and only then comes the reset."""

import errno
import json

import dbus

import harness
from harness import VfiodTestCase, needs_root, wait
from host import VFIO, Gates
from mock_systemd import INTERFACE, NAME, PATH, MockSystemd

UNIT = 'vfiod-scrub@0000:06:00.0.service'


class ScrubTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, reset='', class_code=0x010802)
        self.before = self.host.binding()
        self.systemd = MockSystemd(self.bus.address)
        self.addCleanup(self.systemd.close)
        self.set_policy([self.rule(scrub='vfiod-scrub@.service', reset='optional')])
        self.start()
        self.c = self.client()

    def end(self, *devices):
        """A claim that is over; its first device is being scrubbed."""
        before = len(self.systemd.jobs)
        claim = self.c.acquire(*devices)
        claim.close()
        wait(lambda: len(self.systemd.jobs) > before, 'the unit is started')
        return claim

    def quarantined(self, claim, device, *words):
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertEqual(self.c.device(device)['QuarantineCause'], 'scrub-failed')
        for word in words:
            self.assertIn(word, claim.properties()['Failure'])

    def test_the_unit_runs_before_the_reset(self):
        claim = self.end(self.nic)
        self.assertEqual(self.systemd.jobs[0][1], UNIT)
        self.assertEqual((claim.state, self.nic.resets, self.nic.driver), ('resetting', 0, VFIO))
        with self.refused('DeviceClaimed', self.nic.name):
            self.c.acquire(self.nic)
        self.systemd.end(0)
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_one_after_the_other(self):
        claim = self.end(self.nic, self.disk)
        self.systemd.end(0)
        wait(lambda: len(self.systemd.jobs) == 2, 'the next one')
        self.assertEqual((self.systemd.jobs[1][1], self.nic.resets), ('vfiod-scrub@0000:07:00.0.service', 1))
        self.systemd.end(1)
        self.wait_gone(claim)  # the disk has no reset
        self.assert_untouched(self.before)

    @needs_root
    def test_a_unit_that_fails(self):
        claim = self.end(self.nic, self.disk)
        self.systemd.end(0, 'failed')
        wait(lambda: len(self.systemd.jobs) == 2, 'the other device is scrubbed all the same')
        self.systemd.end(1)
        self.quarantined(claim, self.nic, UNIT, 'failed')
        self.assertEqual((self.nic.resets, self.nic.driver), (0, VFIO))
        self.assertEqual(self.c.device(self.disk)['State'], 'free')
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        wait(lambda: len(self.systemd.jobs) == 3, 'it is tried again')
        self.systemd.end(2)
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_a_unit_that_is_missing(self):
        self.systemd.missing.add(UNIT)
        claim = self.c.acquire(self.nic)
        claim.close()
        self.quarantined(claim, self.nic, UNIT, 'not found')

    def test_a_unit_that_does_not_end(self):
        self.assertEqual(self.daemon.stop(), 0)
        self.start('--worker-timeout=1')
        self.c = self.client()
        claim = self.end(self.nic)
        self.quarantined(claim, self.nic, 'did not end within 10 s')

    def test_no_systemd(self):
        self.systemd.close()
        claim = self.c.acquire(self.nic)
        claim.close()
        self.quarantined(claim, self.nic, 'could not be started')

    def test_a_job_of_others_and_a_forged_end_mean_nothing(self):
        claim = self.end(self.nic)
        self.systemd.JobRemoved(dbus.UInt32(9), dbus.ObjectPath(PATH + '/job/9'), UNIT, 'done')
        forger = dbus.bus.BusConnection(self.bus.address)
        self.addCleanup(forger.close)
        message = dbus.lowlevel.SignalMessage(PATH, INTERFACE, 'JobRemoved')
        message.append(dbus.UInt32(1), dbus.ObjectPath(self.systemd.jobs[0][0]), UNIT, 'done', signature='uoss')
        message.set_destination(self.c.connection.get_name_owner('org.vfiod1'))
        forger.send_message(message)
        forger.flush()
        forger.get_name_owner(NAME)  # the bus has passed it on
        self.c.device(self.nic)  # and vfiod has read it
        self.assertEqual((claim.state, self.nic.resets), ('resetting', 0))
        self.systemd.end(0)
        self.wait_gone(claim)

    def test_a_restart_begins_anew(self):
        claim = self.end(self.nic)
        self.daemon.kill()
        self.start(keep_fds=True)
        wait(lambda: len(self.systemd.jobs) == 2, 'the unit is started again')
        self.c = claim.client = self.client()
        self.assertEqual(self.nic.resets, 0)
        self.systemd.end(0)  # of which the new daemon knows nothing
        self.assertEqual(claim.state, 'resetting')
        self.systemd.end(1)
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    @needs_root
    def test_never_over_the_host_s_driver(self):
        claim = self.end(self.nic)
        self.systemd.end(0, 'failed')
        self.quarantined(claim, self.nic)
        self.host.change_driver(self.nic, 'e1000e')
        wait(lambda: self.c.device(self.nic)['Driver'] == 'e1000e', 'vfiod has seen it')
        with self.refused('DeviceQuarantined', self.nic.name, UNIT.split('@')[0], 'e1000e', VFIO):
            self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.assertEqual((claim.state, len(self.systemd.jobs)), ('quarantined', 1))
        self.host.change_driver(self.nic, VFIO)
        wait(lambda: self.c.device(self.nic)['Driver'] == VFIO, 'vfiod has seen that, too')
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        wait(lambda: len(self.systemd.jobs) == 2, 'it is tried again')
        self.daemon.kill()
        self.host.change_driver(self.nic, 'e1000e')  # while there is no daemon: nobody has scrubbed it
        self.start(keep_fds=True)
        self.c = claim.client = self.client()
        self.quarantined(claim, self.nic, 'e1000e', VFIO)
        self.assertEqual(len(self.systemd.jobs), 2)
        self.c.manager('ClearQuarantine', 'asa{sv}', [self.nic.name], {'reason': 'looked at'})
        self.wait_gone(claim)
        self.assertEqual((len(self.systemd.jobs), self.nic.driver), (2, 'e1000e'))

    def test_its_driver_was_taken_away_while_it_was_held(self):
        claim = self.c.acquire(self.nic)
        self.daemon.kill()
        claim.close()
        self.host.change_driver(self.nic, 'e1000e')
        self.start()
        self.c = claim.client = self.client()
        self.quarantined(claim, self.nic, 'e1000e', VFIO)
        self.assertEqual(self.systemd.jobs, [])

    @needs_root
    def test_a_restore_that_comes_back_late(self):
        self.assertEqual(self.daemon.stop(), 0)
        self.start('--worker-timeout=1')
        self.c = self.client()
        claim = self.end(self.nic)
        gates = Gates(*(self.kernel.hold(way, self.nic.address, driver='e1000e') for way in ('bind', 'drivers_probe')))
        self.systemd.end(0)
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        gates.let_go()
        self.wait_gone(claim)
        self.assertEqual(len(self.systemd.jobs), 1)
        self.assert_untouched(self.before)

    def test_killed_before_the_driver_is_taken_away(self):
        gate = self.kernel.hold('unbind', self.nic.address)
        answer = self.c.acquire_later(self.nic)
        wait(lambda: gate.entered, 'the unbind is under way')
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        gate.let_go(errno.EBUSY)
        self.start()
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.systemd.jobs, [])
        self.assert_untouched(self.before)

    def another_systemd(self):
        self.systemd = MockSystemd(self.bus.address)
        self.addCleanup(self.systemd.close)

    def test_the_bus_restarts_and_systemd_comes_late(self):
        claim = self.end(self.nic)
        self.systemd.close()
        self.bus.stop()
        self.bus.start()
        self.wait_logged(UNIT, 'trying again')
        self.another_systemd()
        wait(lambda: len(self.systemd.jobs) == 1, 'the unit is started again')
        self.c = claim.client = self.client()
        wait(lambda: self.c.connection.name_has_owner(harness.NAME), 'the name is owned again')
        self.systemd.end(0)
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)

    def test_the_bus_goes_before_systemd_answers(self):
        self.systemd.deaf = True
        claim = self.end(self.nic)
        self.systemd.close()
        self.bus.stop()
        self.bus.start()
        self.another_systemd()
        wait(lambda: len(self.systemd.jobs) == 1, 'the unit is started again')
        self.c = claim.client = self.client()
        wait(lambda: self.c.connection.name_has_owner(harness.NAME), 'the name is owned again')
        self.systemd.end(0)
        self.wait_gone(claim)

    def test_systemd_executes_itself_anew(self):
        for deaf in (False, True):
            self.systemd.deaf = deaf
            claim = self.end(self.nic)
            self.systemd.close()
            self.another_systemd()  # by another unique name
            wait(lambda: len(self.systemd.jobs) == 1, 'the unit is joined')
            self.systemd.end(0)
            self.wait_gone(claim)

    def test_pulled_out_meanwhile(self):
        claim = self.end(self.nic)
        self.host.remove_device(self.nic).join(harness.WAIT_TIMEOUT)
        wait(lambda: self.c.find(self.nic) is None or not self.c.find(self.nic), 'it is gone')
        self.systemd.end(0, 'failed')
        self.wait_gone(claim)
        self.assertEqual(self.records(), [])

    def test_the_plan_says_so(self):
        plan = json.loads(self.c.manager('Plan', 'asa{sv}', [self.nic.name], {}))
        self.assertEqual(plan['members'][0]['scrub'], 'vfiod-scrub@.service')


if __name__ == '__main__':
    harness.main()

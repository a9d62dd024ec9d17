#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that could not be reset or restored: how the operator ends their quarantine."""

import errno
import json
import os

import dbus

import harness
from harness import NOBODY, needs_root, wait
from varlink_client import VarlinkError, VarlinkTestCase


class QuarantineTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme', class_code=0x010802)
        self.before = self.host.binding()
        self.start('--worker-timeout=1')
        self.c = self.client()

    def quarantine(self, *devices):
        for device in devices:
            self.kernel.fail('reset', device.address, errno.ENOTTY)
        claim = self.c.acquire(*devices)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        return claim

    def end(self, method, *devices, client=None, **options):
        (client or self.c).manager(method, 'asa{sv}', [getattr(d, 'name', d) for d in devices], options)

    @needs_root
    def test_a_retry(self):
        claim = self.quarantine(self.nic)
        resets = self.nic.resets
        self.kernel.heal()
        self.end('RetryQuarantine', self.nic)
        self.wait_gone(claim)
        self.assertEqual((self.host.binding(), self.nic.resets), (self.before, resets + 1))
        self.assertEqual(self.records(), [])
        line, = self.wait_logged(f'uid 0 has claim {claim.id} of uid 0 reset and restored again: {self.nic.name}')
        self.assertRegex(line, f'VFIOD_ACTION=retry-quarantine VFIOD_UID=0 VFIOD_PID={os.getpid()} .*VFIOD_CLAIM={claim.id}')
        self.c.acquire(self.nic).close()

    @needs_root
    def test_a_retry_that_fails_again(self):
        claim = self.quarantine(self.nic)
        self.kernel.heal()
        gate = self.kernel.hold('reset', self.nic.address)
        self.end('RetryQuarantine', self.nic)
        wait(lambda: gate.entered, 'it is reset')
        self.assertEqual(claim.state, 'resetting')
        gate.let_go(errno.EIO)
        wait(lambda: claim.state == 'quarantined', 'it is quarantined again')
        self.assertIn('Input/output error', claim.properties()['Failure'])
        self.assertEqual(self.c.device(self.nic)['QuarantineCause'], 'reset-failed')
        with self.refused('DeviceQuarantined', self.nic.name):
            self.c.acquire(self.nic)

    @needs_root
    def test_a_retry_tries_all_of_the_claim(self):
        claim = self.quarantine(self.nic, self.disk)
        self.kernel.heal()
        self.end('RetryQuarantine', self.disk)
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    @needs_root
    def test_a_retry_after_a_restart(self):
        claim = self.quarantine(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        self.start()
        self.assertEqual(claim.state, 'quarantined')
        self.kernel.heal()
        self.end('RetryQuarantine', self.nic)
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    @needs_root
    def test_clear(self):
        claim = self.quarantine(self.nic)
        resets = self.nic.resets
        self.end('ClearQuarantine', self.nic, reason='power cycled\nby hand')
        self.wait_gone(claim)
        self.assertEqual((self.host.binding(), self.nic.resets), (self.before, resets))
        line, = self.wait_logged(f'uid 0 cleared the quarantine of claim {claim.id} of uid 0, because power cycled\\x0aby hand: '
                                 f'{self.nic.name}')
        self.assertRegex(line, f'VFIOD_ACTION=clear-quarantine VFIOD_UID=0 VFIOD_PID={os.getpid()} ')

    @needs_root
    def test_clear_names_all_that_it_frees(self):
        claim = self.quarantine(self.nic, self.disk)
        with self.refused('InvalidArgument', self.disk.name, 'was not named'):
            self.end('ClearQuarantine', self.nic, reason='fine')
        self.assertEqual(claim.state, 'quarantined')
        self.end('ClearQuarantine', self.disk, self.nic, reason='fine')
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    @needs_root
    def test_several_claims_at_a_time_all_or_none(self):
        claims = [self.quarantine(self.nic), self.quarantine(self.disk)]
        self.kernel.heal()
        with self.refused('NoSuchDevice', 'pci:0000:09:00.0'):
            self.end('RetryQuarantine', self.nic, 'pci:0000:09:00.0')
        self.assertEqual([c.state for c in claims], ['quarantined'] * 2)
        self.end('RetryQuarantine', self.nic, self.disk)
        for claim in claims:
            self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    @needs_root
    def test_what_is_refused(self):
        for method, options in (('RetryQuarantine', {}), ('ClearQuarantine', {'reason': 'fine'})):
            with self.refused('InvalidArgument', self.nic.name, 'not quarantined'):
                self.end(method, self.nic, **options)
            with self.refused('InvalidArgument', 'no device'):
                self.end(method, **options)
            with self.refused('InvalidName'):
                self.end(method, 'not a device', **options)
            with self.refused('UnknownOption', 'colour'):
                self.end(method, self.nic, colour='red', **options)
        claim = self.quarantine(self.nic)
        for reason in ({}, {'reason': ''}, {'reason': 'x' * 5000}, {'reason': dbus.UInt32(1)}):
            with self.refused('InvalidArgument', 'reason'):
                self.end('ClearQuarantine', self.nic, **reason)
        self.assertEqual(claim.state, 'quarantined')
        self.assertEqual(self.log_lines('clear-quarantine'), [])

    @needs_root
    def test_only_root_may(self):
        claim = self.quarantine(self.nic)
        self.kernel.heal()
        with harness.identity(NOBODY):
            stranger = self.client()
        for method, options in (('RetryQuarantine', {}), ('ClearQuarantine', {'reason': 'fine'})):
            with self.refused('AccessDenied', 'only root'):
                self.end(method, self.nic, client=stranger, **options)
        self.assertEqual(claim.state, 'quarantined')

    @needs_root
    def test_not_while_a_worker_is_stuck(self):
        claim = self.c.acquire(self.nic)
        gate = self.kernel.hold('reset', self.nic.address)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        for method, options in (('RetryQuarantine', {}), ('ClearQuarantine', {'reason': 'fine'})):
            with self.refused('DeviceQuarantined', 'stuck in the kernel'):
                self.end(method, self.nic, **options)
        gate.let_go()
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    @needs_root
    def test_over_varlink(self):
        claim = self.quarantine(self.nic)
        peer = self.peer()
        for parameters in ({'devices': [self.nic.name]}, {'devices': [self.nic.name], 'reason': ''}):
            with self.assertRaises(VarlinkError):
                peer.call('ClearQuarantine', parameters)
        self.assertEqual(peer.call('ClearQuarantine', {'devices': [self.nic.name], 'reason': 'fine'}), {})
        self.wait_gone(claim)
        claim = self.quarantine(self.nic)
        self.kernel.heal()
        self.assertEqual(peer.call('RetryQuarantine', {'devices': [self.nic.name]}), {})
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    def vfioctl(self, *arguments, **options):
        """(exit status, output)"""
        process = self.tool(os.environ['VFIOCTL'], *arguments, **options)
        output, _ = process.communicate(timeout=20)
        return process.returncode, output

    @needs_root
    def test_the_command_line(self):
        self.assertEqual(self.vfioctl('quarantine'), (0, 'No device is quarantined.\n'))
        claim = self.quarantine(self.nic)
        status, output = self.vfioctl('quarantine', 'list', '--no-legend')
        self.assertEqual((status, output.split()[:3]), (0, [self.nic.name, 'reset-failed', claim.id]))
        status, output = self.vfioctl('quarantine', '--json')
        entry, = json.loads(output)
        self.assertEqual({**entry, 'failure': None}, {'device': self.nic.name, 'quarantineCause': 'reset-failed',
                                                      'cause': 'reset-failed', 'claim': claim.id, 'failure': None})
        self.assertIn(self.nic.name, entry['failure'])
        self.assertIn('quarantine list', self.vfioctl('status', self.nic.name)[1])
        status, output = self.vfioctl('quarantine', 'retry', self.nic.address)
        self.assertEqual(status, 21, output)
        self.assertIn('could not be reset', output)
        self.kernel.heal()
        status, output = self.vfioctl('quarantine', 'retry', self.nic.address)
        self.assertEqual((status, output.splitlines()[-1]), (0, f'{claim.id}: gone'), output)
        claim = self.quarantine(self.nic)
        for wrong in (('clear', self.nic.name), ('retry', self.nic.name, '--reason=x'), ('retry',), ('list', self.nic.name), ('lift',),
                      ('clear', claim.id, '--reason=x')):
            self.assertEqual(self.vfioctl('quarantine', *wrong)[0], 2, wrong)
        self.assertEqual(self.vfioctl('quarantine', 'clear', '06:00.0', '--reason=fine')[0], 0)
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims that grow and shrink while they are held: the devices that stay are never touched, whatever goes wrong."""

import contextlib
import errno
import json
import os
import pathlib
import random
import resource
import signal

import dbus

import harness
from harness import NOBODY, ROOT_PATH, VfiodTestCase, device_path, needs_root, wait
from host import VFIO

SEEDS = [int(seed) for seed in os.environ.get('VFIOD_GROW_SEEDS', '1,2,3').split(',')]


class GrowTestCase(VfiodTestCase):
    """A claim of one device, and another one that is free."""
    backend = 'iommufd'

    def setUp(self):
        super().setUp()
        self.first = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.second = self.host.add_device('0000:07:00.0', group=9, driver='igb')
        self.set_rules()
        self.before = self.host.binding()
        self.start()
        self.c = self.client()
        self.claim = self.c.acquire(self.first, backend=self.backend)
        self.kernel.set_enable(self.first, 1)
        self.kernel.writes.clear()

    def set_rules(self):
        pass

    def plug(self, address, group):
        device = self.host.add_device(address, group=group, driver='igb')
        self.before[address] = self.host.binding()[address]
        wait(lambda: self.c.seen('InterfacesAdded', device_path(device.name)), 'it is there')
        return device

    def devices(self, claim=None):
        return [str(p) for p in (claim or self.claim).properties()['Devices']]

    def assert_holds(self, *devices):
        self.assertEqual(self.devices(), [device_path(d.name) for d in devices])
        self.assertEqual(self.claim.state, 'held')
        for d in devices:
            shown = self.c.device(d)
            self.assertEqual((d.driver, shown['State'], shown['Claim']), (VFIO, 'claimed', self.claim.path))

    def assert_first_untouched(self):
        self.assertEqual([w for w in self.kernel.writes if self.first.address in w[0] + w[1]], [])
        self.assertEqual(self.first.resets, 0)

    def assert_as_before(self):
        """Nothing of the new devices is left, and nothing of the claim is other than it was."""
        wait(lambda: len(self.records()) == 1, 'one record is left')
        self.assert_holds(self.first)
        self.assert_first_untouched()
        binding = self.host.binding()
        self.assertEqual({a: b for a, b in binding.items() if a != self.first.address},
                         {a: b for a, b in self.before.items() if a != self.first.address})
        self.assertEqual(self.c.device(self.second)['State'], 'free')

    def end(self):
        """With the claim everything goes back, the devices that joined it included."""
        for d in (self.first, self.second):
            self.kernel.set_enable(d, 0)
        self.claim.close()
        self.wait_gone(self.claim)
        wait(lambda: self.records() == [], 'the records go')
        self.assertEqual(self.host.binding(), self.before)


class AddTest(GrowTestCase):
    def test_add_and_release(self):
        result = self.c.add(self.claim, self.second)
        self.assertEqual([str(d) for d in result['devices']], [self.second.name])
        self.assertEqual((result['backend'], result['claim']), ('iommufd', self.claim.path))
        self.assertEqual(sorted(self.claim.fds), ['device:' + self.first.name, 'device:' + self.second.name,
                                                  'iommufd', 'lifeline'])
        self.assertEqual(os.fstat(self.claim.fds['device:' + self.second.name]).st_ino,
                         os.stat(self.kernel.nodes.real(self.host.cdev(self.second))).st_ino)
        self.assert_holds(self.first, self.second)
        self.assert_first_untouched()
        self.assertEqual(self.records(), [self.claim.id + '.json'])
        wait(lambda: self.c.seen('PropertiesChanged', self.claim.path,
                                 Devices=[device_path(d.name) for d in (self.first, self.second)],
                                 Groups=[f'{ROOT_PATH}/group/8', f'{ROOT_PATH}/group/9']), 'it is announced')
        self.kernel.set_enable(self.second, 1)

        self.c.release_devices(self.claim, self.second)
        self.assertEqual(self.devices(), [device_path(self.first.name)])
        self.assertEqual(self.c.device(self.second)['State'], 'draining')
        self.assertEqual(self.second.driver, VFIO)
        self.claim.close('device:' + self.second.name)
        self.kernel.set_enable(self.second, 0)
        wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is free')
        self.assertEqual(self.second.resets, 1)
        self.assert_as_before()
        self.end()

    def test_they_end_together(self):
        self.c.add(self.claim, self.second)
        self.kernel.set_enable(self.second, 1)
        self.end()
        self.assertEqual((self.first.resets, self.second.resets), (1, 1))

    def test_releasing_the_first_keeps_the_second(self):
        self.c.add(self.claim, self.second)
        self.c.release_devices(self.claim, self.first)
        self.kernel.set_enable(self.first, 0)
        self.claim.close('device:' + self.first.name)
        wait(lambda: self.c.device(self.first)['State'] == 'free', 'it is free')
        self.assert_holds(self.second)
        self.assertEqual((self.first.driver, self.second.resets), ('e1000e', 0))
        self.end()

    def test_releasing_all_ends_the_claim(self):
        self.c.add(self.claim, self.second)
        self.c.release_devices(self.claim, self.second, self.first)
        self.assertEqual(self.claim.state, 'draining')
        with self.refused('NoSuchClaim', 'ended', 'draining'):
            self.c.add(self.claim, self.second)
        self.end()

    def test_again_and_again(self):
        for _ in range(20):
            self.c.add(self.claim, self.second)
            self.c.release_devices(self.claim, self.second)
            self.claim.close('device:' + self.second.name)
            wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is free')
        self.assert_as_before()
        self.end()

    def test_a_restart_keeps_what_has_joined(self):
        self.c.add(self.claim, self.second)
        self.assertEqual(self.daemon.stop(), 0)
        self.start(keep_fds=True)
        self.manager.forget()
        self.assert_holds(self.first, self.second)
        self.c.release_devices(self.claim, self.second)
        self.assertEqual(self.c.device(self.second)['State'], 'draining')
        self.claim.close('device:' + self.second.name)
        wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is free')
        self.assert_as_before()
        self.end()

    def test_two_that_are_added_are_released_one_by_one(self):
        third = self.plug('0000:08:00.0', 10)
        self.c.add(self.claim, self.second, third)
        self.assert_holds(self.first, self.second, third)
        for d, others in ((self.second, (self.first, third)), (third, (self.first,))):
            self.c.release_devices(self.claim, d)
            self.claim.close('device:' + d.name)
            wait(lambda d=d: self.c.device(d)['State'] == 'free', 'it is free')
            self.assert_holds(*others)
        self.assert_as_before()
        self.end()

    def test_an_unplugged_device_leaves_alone(self):
        self.c.add(self.claim, self.second)
        self.host.remove_device(self.second)
        wait(lambda: self.devices() == [device_path(self.first.name)], 'it leaves the claim')
        self.claim.close('device:' + self.second.name)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.second.name)), 'the device goes')
        wait(lambda: self.records() == [self.claim.id + '.json'], 'its record goes')
        self.assert_holds(self.first)
        self.assert_first_untouched()
        self.claim.close()
        self.kernel.set_enable(self.first, 0)
        self.wait_gone(self.claim)

    def test_a_device_that_was_unplugged_while_no_daemon_ran(self):
        self.c.add(self.claim, self.second)
        self.daemon.kill()
        self.claim.close('device:' + self.second.name)
        self.host.remove_device(self.second).join(harness.WAIT_TIMEOUT)
        self.start(keep_fds=True)
        self.manager.forget()
        wait(lambda: self.records() == [self.claim.id + '.json'], 'its record goes')
        self.assert_holds(self.first)
        self.claim.close()
        self.kernel.set_enable(self.first, 0)
        self.wait_gone(self.claim)

    def test_without_a_record_nothing_changes(self):
        third = self.plug('0000:08:00.0', 10)
        self.c.add(self.claim, self.second)
        gate = self.kernel.hold('open', data='/dev/vfio/10')
        answer = self.c.add_later(self.claim, third)
        wait(lambda: gate.entered, 'it is bound')
        os.unlink(f'{self.directory}/state/claims/slots')  # from now on none can be written
        gate.let_go()
        wait(lambda: answer.done, 'the caller hears of it')
        self.assertIn('Internal', answer.error.get_dbus_name())
        self.assertIn('cannot record the claim', str(answer.error))
        wait(lambda: self.c.device(third)['State'] == 'free', 'it is undone')
        with self.refused('Internal', 'cannot record the claim'):
            self.c.release_devices(self.claim, self.second)
        self.assert_holds(self.first, self.second)
        self.assertEqual(third.driver, 'igb')
        for d in (self.first, self.second):
            self.kernel.set_enable(d, 0)
        self.claim.close()
        wait(lambda: self.claim.state == 'gone', 'it ends')
        self.assertEqual(self.host.binding(), self.before)

    def test_one_that_cannot_be_put_back_is_quarantined_alone(self):
        self.c.add(self.claim, self.second)
        self.kernel.fail('reset', self.second.address, errno.ENOTTY)
        self.c.release_devices(self.claim, self.second)
        self.claim.close('device:' + self.second.name)
        wait(lambda: self.c.device(self.second)['State'] == 'quarantined', 'it is quarantined')
        self.assert_holds(self.first)
        part = str(self.c.device(self.second)['Claim'])
        self.assertNotEqual(part, self.claim.path)
        with self.refused('DeviceQuarantined', self.second.name):
            self.c.add(self.claim, self.second)
        if os.getuid() == 0:
            self.c.manager('Release', 'sa{sv}', part.rsplit('/', 1)[1], {})
            wait(lambda: self.c.device(self.second)['State'] == 'free', 'root has looked')
        self.assert_holds(self.first)
        self.claim.close()
        self.kernel.set_enable(self.first, 0)
        self.wait_gone(self.claim)


class RefusedTest(GrowTestCase):
    """Each step can fail: then the claim is as before, and so are the devices that were to join."""

    def assert_refused(self, error, *words, devices=None, **options):
        with self.refused(error, *words):
            self.c.add(self.claim, *([self.second] if devices is None else devices), **options)
        self.assert_as_before()

    def tearDown(self):
        self.kernel.heal()
        self.c.add(self.claim, self.second)
        self.end()
        super().tearDown()

    def test_what_is_no_request(self):
        self.assert_refused('InvalidArgument', 'no device', devices=[])

    def test_a_name_that_is_none(self):
        self.assert_refused('InvalidName', devices=['nonsense'])

    def test_a_device_that_is_not_there(self):
        self.assert_refused('NoSuchDevice', devices=['pci:0000:ff:00.0'])

    def test_named_twice(self):
        self.assert_refused('InvalidArgument', 'twice', devices=[self.second, self.second])

    def test_one_that_the_claim_has(self):
        self.assert_refused('InvalidArgument', 'already has it', devices=[self.second, self.first])

    def test_a_claim_that_is_not_there(self):
        for name in ('0' * 16, '', 'cookie:none', 'x' * 5000, '/'):
            with self.refused('NoSuchClaim'):
                self.c.add(name, self.second)
            with self.refused('NoSuchClaim'):
                self.c.release_devices(name, self.second)
        self.assert_as_before()

    def test_options_that_a_claim_has_once(self):
        self.assert_refused('InvalidArgument', 'backend', 'does not change', backend='group')
        self.assert_refused('InvalidArgument', 'cookie', 'does not change', cookie='mine')
        self.assert_refused('UnknownOption', 'nonsense', nonsense='x')

    def test_a_device_of_another_claim(self):
        other = self.c.acquire(self.second)
        with self.refused('DeviceClaimed', other.id):
            self.c.add(self.claim, self.second)
        self.assertEqual(other.state, 'held')
        other.close()
        self.wait_gone(other)

    def test_a_group_that_a_program_has_open(self):
        self.host.change_driver(self.second, VFIO)
        self.before[self.second.address] = self.host.binding()[self.second.address]
        holder = self.host.hold_node('/dev/vfio/9')
        self.assert_refused('GroupInUse', self.second.name)
        os.close(holder)

    def test_the_bind_fails(self):
        self.host.fail_binding(self.second, errno.EBUSY)
        self.assert_refused('BindFailed', self.second.name)

    def test_the_second_bind_fails(self):
        third = self.plug('0000:08:00.0', 10)
        self.host.fail_binding(third, errno.EBUSY)
        self.assert_refused('BindFailed', third.name, devices=[self.second, third])
        self.assertEqual(self.c.device(third)['State'], 'free')

    def test_the_open_fails(self):
        self.kernel.fail('open', None, errno.EIO, data='/dev/vfio/devices/vfio1')
        self.assert_refused('OpenFailed', self.second.name)

    def test_the_worker_dies(self):
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        for pid in self.daemon.workers():
            with contextlib.suppress(ProcessLookupError):  # another one has ended by itself
                os.kill(pid, signal.SIGKILL)
        gates.let_go(errno.EBUSY, effect=False)
        wait(lambda: answer.done, 'the caller hears of it')
        self.assertIn('BindFailed', answer.error.get_dbus_name())
        self.assert_as_before()

    def test_it_is_unplugged_meanwhile(self):
        third = self.plug('0000:08:00.0', 10)
        gates = self.host.hold_binding(third)
        answer = self.c.add_later(self.claim, self.second, third)
        wait(lambda: gates.entered, 'the bind is under way')
        removal = self.host.remove_device(third)
        gates.let_go()
        removal.join(harness.WAIT_TIMEOUT)
        wait(lambda: answer.done, 'the caller hears of it')
        self.assertIsNotNone(answer.error)
        del self.before[third.address]
        self.assert_as_before()

    def test_the_caller_is_gone_before_the_reply(self):
        gates = self.host.hold_binding(self.second)
        other = self.client()
        other.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        other.close()
        self.c.device(self.first)  # a round trip: the daemon knows
        gates.let_go()
        wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is given back')
        self.assert_as_before()

    def test_one_at_a_time(self):
        third = self.plug('0000:08:00.0', 10)
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        self.assertEqual(self.c.device(self.second)['State'], 'binding')
        self.assertEqual(self.claim.state, 'held')
        with self.refused('ClaimBusy', self.claim.id):
            self.c.add(self.claim, third)
        with self.refused('ClaimBusy', self.claim.id):
            self.c.release_devices(self.claim, self.first)
        gates.let_go(errno.EBUSY, effect=False)
        wait(lambda: answer.done, 'the caller hears of it')
        self.assert_as_before()

    def test_what_is_given_back_is_the_claims(self):
        for devices, error in (([self.second], 'InvalidArgument'), ([], 'InvalidArgument'),
                               ([self.first, self.first], 'InvalidArgument'), (['nonsense'], 'InvalidName'),
                               ([self.first, self.second], 'InvalidArgument'),
                               (['pci:0000:ff:00.0'], 'InvalidArgument')):
            with self.refused(error):
                self.c.release_devices(self.claim, *devices)
        self.assert_as_before()

    @needs_root
    def test_strangers(self):
        self.set_policy([self.rule(), self.rule('nobody', user=NOBODY)])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        for method, device in (('AddDevices', self.second), ('ReleaseDevices', self.first)):
            for claim, error in ((self.claim.id, 'not yours'), ('cookie:mine', 'there is no claim')):
                status, output = self.busctl('call', harness.NAME, ROOT_PATH, harness.NAME + '.Manager', method,
                                             'sasa{sv}', claim, '1', device.name, '0', user=NOBODY)
                self.assertNotEqual(status, 0)
                self.assertIn(error, output)
        self.assert_as_before()


class PolicyTest(GrowTestCase):
    def set_rules(self):
        self.set_policy([self.rule('first', device='0000:06:*', limits={'claims': 1, 'devices': 1}, memlock='1M'),
                         self.rule('second', device='0000:07:*', limits={'claims': 1, 'devices': 2}, memlock='512K',
                                   reason='required')])

    def setUp(self):
        super().setUp()
        self.third = self.plug('0000:07:01.0', 11)
        self.fourth = self.plug('0000:07:02.0', 12)
        self.other = self.plug('0000:09:00.0', 13)

    def test_each_device_is_judged(self):
        with self.refused('AccessDenied', self.other.name):
            self.c.add(self.claim, self.other, reason='test')
        with self.refused('ReasonRequired', self.second.name):
            self.c.add(self.claim, self.second)
        self.assert_as_before()
        self.assertIn('second', str(self.c.add(self.claim, self.second, reason='test')['rule']))
        rule = str(self.claim.properties()['Rule'])
        self.assertIn('first', rule)
        self.assertIn('second', rule)
        self.end()

    def test_limits_count_a_claim_once_and_each_device(self):
        self.c.add(self.claim, self.second, reason='test')
        self.c.add(self.claim, self.third, reason='test')  # another claim would be one too many
        with self.refused('LimitExceeded', 'devices', self.fourth.name):
            self.c.add(self.claim, self.fourth, reason='test')
        with self.refused('LimitExceeded', 'claims'):
            self.c.acquire(self.fourth, reason='test')
        self.c.release_devices(self.claim, self.third)
        self.claim.close('device:' + self.third.name)
        wait(lambda: self.c.device(self.third)['State'] == 'free', 'it is free')
        with self.refused('LimitExceeded', 'claims'):
            self.c.acquire(self.fourth, reason='test')
        self.c.release_devices(self.claim, self.second)
        self.claim.close('device:' + self.second.name)
        wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is free')
        other = self.c.acquire(self.second, self.fourth, reason='test')  # nothing of the rule is in the claim any more
        with self.refused('LimitExceeded', 'claims'):
            self.c.add(self.claim, self.third, reason='test')
        other.close()
        self.wait_gone(other)
        self.c.add(self.claim, self.third, reason='test')
        self.end()
        self.c.acquire(self.first).close()

    def test_locked_memory_is_that_of_the_whole_claim(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_MEMLOCK, (soft, hard))
        size = dbus.UInt64(256 << 10)
        self.claim.close()
        self.kernel.set_enable(self.first, 0)
        self.wait_gone(self.claim)
        self.claim = self.c.acquire(self.first, memlock=size)
        self.assertEqual(int(self.c.add(self.claim, self.second, reason='test', memlock=size)['memlock']), 256 << 10)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_MEMLOCK), (512 << 10, hard))
        with self.refused('LimitExceeded', 'locked-memory', '512K at most', '768K'):
            self.c.add(self.claim, self.third, reason='test', memlock=size)
        self.c.add(self.claim, self.third, reason='test')
        self.end()

    @needs_root
    def test_a_policy_that_no_longer_allows_the_second(self):
        self.c.add(self.claim, self.second, reason='test')
        self.set_policy([self.rule('first', device='0000:06:*')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual([str(p) for p in self.c.get(ROOT_PATH, 'Manager', 'ClaimsDeniedByPolicy')],
                         [self.claim.path])
        with self.refused('AccessDenied', self.third.name):
            self.c.add(self.claim, self.third, reason='test')
        self.end()


class ManyTest(VfiodTestCase):
    def test_fourteen_and_one(self):
        nics = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver=VFIO) for n in range(1, 17)]
        self.start()
        c = self.client()
        claim = c.acquire(nics[0])
        with self.refused('TooManyDevices', '14'):
            c.add(claim, *nics[1:16])
        with self.refused('TooManyDevices', '14', claim.id):
            c.add(claim, *nics[1:15])
        c.add(claim, *nics[1:14])
        self.assertEqual(len(claim.fds), 16)
        with self.refused('TooManyDevices', '14', claim.id):
            c.add(claim, nics[14])
        c.release_devices(claim, *nics[:13])
        claim.close(*('device:' + d.name for d in nics[:13]))
        c.add(claim, *nics[14:])
        self.assertEqual([str(p) for p in claim.properties()['Devices']], [device_path(d.name) for d in nics[13:]])
        claim.close()
        self.wait_gone(claim)


class FunctionsTest(VfiodTestCase):
    """Two functions of a card in one group, and a card in another."""
    backend = 'iommufd'

    def setUp(self):
        super().setUp()
        self.card = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.sound = self.host.add_device('0000:06:00.1', group=8, driver='snd')
        self.nic = self.host.add_device('0000:07:00.0', group=9, driver='igb')
        self.set_policy([self.rule(siblings='park')])
        self.before = self.host.binding()
        self.start()
        self.c = self.client()
        self.claim = self.c.acquire(self.card, backend=self.backend)

    def devices(self):
        return [str(p) for p in self.claim.properties()['Devices']]

    def node(self, device):
        return 'device:' + device.name if self.backend == 'iommufd' else 'group:%d' % (8 if device != self.nic else 9)

    def end(self):
        self.claim.close()
        self.wait_gone(self.claim)
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.host.binding(), self.before)

    def test_a_parked_sibling_joins(self):
        self.assertEqual(self.sound.driver, VFIO)
        before = set(self.claim.fds)
        self.c.add(self.claim, self.sound)
        self.assertEqual(set(self.claim.fds) - before, {self.node(self.sound)} - before)
        self.assertEqual(self.devices(), [device_path(d.name) for d in (self.card, self.sound)])
        self.end()
        self.assertEqual((self.card.resets, self.sound.resets), (1, 1))

    def test_a_parked_sibling_that_cannot_join_stays_parked(self):
        self.host.fail_binding(self.nic, errno.EBUSY)
        with self.refused('BindFailed', self.nic.name):
            self.c.add(self.claim, self.sound, self.nic)
        self.assertEqual(self.devices(), [device_path(self.card.name)])
        self.assertEqual((self.sound.driver, self.nic.driver, self.claim.state), (VFIO, 'igb', 'held'))
        self.kernel.heal()
        self.c.add(self.claim, self.sound, self.nic)
        self.end()

    def test_a_group_goes_as_a_whole(self):
        self.c.add(self.claim, self.sound, self.nic)
        self.c.release_devices(self.claim, self.card)
        self.assertEqual(self.devices(), [device_path(d.name) for d in (self.sound, self.nic)])
        self.assertEqual(str(self.c.device(self.card)['Claim']), self.claim.path)
        with self.refused('InvalidArgument', 'given back'):
            self.c.add(self.claim, self.card)
        with self.refused('InvalidArgument', 'does not have it'):
            self.c.release_devices(self.claim, self.card)
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual(self.devices(), [device_path(d.name) for d in (self.sound, self.nic)])
        self.assertEqual(self.card.driver, VFIO)
        self.c.release_devices(self.claim, self.sound)
        for name in {self.node(self.card), self.node(self.sound)}:
            self.claim.close(name)
        wait(lambda: self.c.device(self.card)['State'] == 'free', 'the group is free')
        self.assertEqual((self.card.driver, self.sound.driver, self.nic.driver), ('e1000e', 'snd', VFIO))
        self.assertEqual((self.card.resets, self.sound.resets, self.nic.resets), (1, 1, 0))
        self.c.add(self.claim, self.card)
        self.assertEqual(self.devices(), [device_path(d.name) for d in (self.nic, self.card)])
        self.end()

    def test_its_group_leaves_while_a_function_is_on_its_way(self):
        self.c.add(self.claim, self.nic)
        third = self.host.add_device('0000:08:00.0', group=10, driver='igb')
        self.before[third.address] = self.host.binding()[third.address]
        wait(lambda: self.c.seen('InterfacesAdded', device_path(third.name)), 'it is there')
        gates = self.host.hold_binding(third)
        answer = self.c.add_later(self.claim, self.sound, third)
        wait(lambda: gates.entered, 'the bind is under way')
        self.host.remove_device(self.card)
        wait(lambda: self.devices() == [device_path(self.nic.name)], 'the group leaves')
        gates.let_go()
        wait(lambda: answer.done, 'the caller hears of it')
        self.assertIn('DeviceGone', answer.error.get_dbus_name())
        self.claim.close(self.node(self.card))
        wait(lambda: self.records() == [self.claim.id + '.json'], 'everything is undone')
        self.assertEqual(self.devices(), [device_path(self.nic.name)])
        del self.before[self.card.address]
        self.end()

    def test_an_unplugged_function_takes_its_group_along(self):
        self.c.add(self.claim, self.sound, self.nic)
        self.host.remove_device(self.sound)
        wait(lambda: self.devices() == [device_path(self.nic.name)], 'the group leaves')
        self.assertEqual(self.c.device(self.card)['State'], 'draining')
        self.claim.close()
        self.wait_gone(self.claim)
        del self.before[self.sound.address]
        wait(lambda: self.records() == [], 'the records go')
        self.assertEqual(self.host.binding(), self.before)


class GroupFunctionsTest(FunctionsTest):
    host_options = {'iommufd': False, 'cdev': False}
    backend = 'group'


class GroupBackendTest(GrowTestCase):
    host_options = {'iommufd': False, 'cdev': False}
    backend = 'group'

    def test_add_and_release(self):
        result = self.c.add(self.claim, self.second)
        self.assertEqual(result['backend'], 'group')
        self.assertEqual(sorted(self.claim.fds), ['container', 'group:8', 'group:9', 'lifeline'])
        self.assert_holds(self.first, self.second)
        self.c.release_devices(self.claim, self.second)
        self.assertEqual(self.c.device(self.second)['State'], 'draining')
        self.claim.close('group:9')
        wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is free')
        self.assert_as_before()
        self.end()

    def test_the_open_fails(self):
        self.kernel.fail('open', None, errno.EIO, data='/dev/vfio/9')
        with self.refused('OpenFailed', self.second.name):
            self.c.add(self.claim, self.second)
        self.assert_as_before()
        self.end()


class MovedTest(GrowTestCase):
    """The claim moves to another holder while devices are on their way into it."""

    def set_rules(self):
        rule = {'effect': 'allow', 'who': {}, 'reset': 'optional'}
        self.set_policy([{**rule, 'name': 'first', 'what': {'device': self.first.name}},
                         {**rule, 'name': 'second', 'what': {'device': self.second.name}, 'tether': ['lifeline']}])

    def test_to_a_tether_that_they_may_not_have(self):
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        self.c.manager('Transfer', 'sa{sv}', self.claim.id, {'tether': 'process'})
        gates.let_go()
        wait(lambda: answer.done, 'it is answered')
        self.assertIsNotNone(answer.error)
        self.assertEqual(answer.error.get_dbus_name(), harness.ERROR + 'AccessDenied')
        self.assertIn('tether process', answer.error.get_dbus_message())
        self.assert_as_before()
        self.c.manager('Release', 'sa{sv}', self.claim.id, {})
        self.end()


class CrashTest(GrowTestCase):
    """Killed at any moment: the claim and its devices are as they were, and the others are all in, or all out."""

    def part(self):
        """The record of what is on its way."""
        return next(json.loads(text) for text in self.slots() if json.loads(text).get('of'))

    def crash(self):
        wait(lambda: len(self.manager.fds) == 1, 'the lifeline is with the service manager')
        self.daemon.kill()

    def restart(self):
        self.start(keep_fds=True)
        self.manager.forget()

    def test_while_it_binds(self):
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        self.assertEqual(self.part()['of'], self.claim.id)
        self.crash()
        wait(lambda: answer.done, 'the caller hears of it')
        gates.let_go()
        wait(lambda: self.second.driver == VFIO, 'the kernel has bound it')
        self.restart()
        self.assert_as_before()
        self.end()

    def test_while_it_opens(self):
        gate = self.kernel.hold('open', data='/dev/vfio/9')  # whether somebody has the group is asked first
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gate.entered, 'the open is under way')
        self.crash()
        wait(lambda: answer.done, 'the caller hears of it')
        gate.let_go(errno.EBUSY, effect=False)
        self.restart()
        self.assert_as_before()
        self.end()

    def test_after_it_has_joined_and_before_its_own_record_is_gone(self):
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        part = self.part()
        gates.let_go()
        wait(lambda: answer.done, 'it has joined')
        self.assertIsNone(answer.error)
        self.claim.fds['second'] = answer.value[1][0][1].take()
        wait(lambda: len(self.manager.fds) == 1, 'the lifeline is with the service manager')
        for state in ('binding', 'opening', 'held', 'draining', 'restoring'):
            self.daemon.kill()
            pathlib.Path(f'{self.directory}/state/claims/{part["id"]}.json').write_text(
                json.dumps({**part, 'state': state}))
            self.start(keep_fds=True)
            self.assert_holds(self.first, self.second)
            self.assertEqual(self.records(), [self.claim.id + '.json'])
            self.assertEqual(self.second.resets, 0)
        self.end()

    def test_while_it_drains(self):
        self.c.add(self.claim, self.second)
        self.c.release_devices(self.claim, self.second)
        self.crash()
        self.restart()
        self.assert_holds(self.first)
        self.assertEqual(self.c.device(self.second)['State'], 'draining')
        self.claim.close('device:' + self.second.name)
        wait(lambda: self.c.device(self.second)['State'] == 'free', 'it is free')
        self.assertEqual(self.second.resets, 1)
        self.assert_as_before()
        self.end()

    def test_while_it_is_reset_and_restored(self):
        for attribute in ('reset', 'unbind'):
            with self.subTest(attribute):
                self.c.add(self.claim, self.second)
                gate = self.kernel.hold(attribute, self.second.address)
                self.c.release_devices(self.claim, self.second)
                self.claim.close('device:' + self.second.name)
                wait(lambda: gate.entered, 'it is under way')
                self.crash()
                gate.let_go()
                self.kernel.heal()
                self.start(keep_fds=True)
                wait(lambda: len(self.records()) == 1, 'it is restored')
                self.assert_as_before()
        self.end()

    def test_both_lifelines_are_gone(self):
        """Nobody has the claim any more either: both go back, by one record each."""
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        self.crash()
        wait(lambda: answer.done, 'the caller hears of it')
        gates.let_go()
        self.claim.close()
        self.kernel.set_enable(self.first, 0)
        self.restart()
        wait(lambda: self.records() == [], 'the records go')
        self.assertEqual(self.host.binding(), self.before)

    def test_the_claim_ends_while_devices_are_on_their_way(self):
        gates = self.host.hold_binding(self.second)
        answer = self.c.add_later(self.claim, self.second)
        wait(lambda: gates.entered, 'the bind is under way')
        self.claim.close()
        self.kernel.set_enable(self.first, 0)
        self.wait_gone(self.claim)
        gates.let_go()
        wait(lambda: answer.done, 'the caller hears of it')
        self.assertIn('NoSuchClaim', answer.error.get_dbus_name())
        wait(lambda: self.records() == [], 'the records go')
        self.assertEqual(self.host.binding(), self.before)


class ModelTest(VfiodTestCase):
    """Random calls and crashes against a model: which devices has the claim, which does it show?"""

    def run_seed(self, seed):
        chance = random.Random(seed)
        groups = {8: 2, 9: 1, 10: 3, 11: 1}
        devices = [self.host.add_device(f'0000:{g:02x}:00.{n}', group=g, driver=chance.choice([None, VFIO, 'igb']))
                   for g, n_devices in groups.items() for n in range(n_devices)]
        self.set_policy([self.rule(siblings='park', grant=['fd', 'node', 'none'])])
        before = self.host.binding()
        self.start()
        c = self.client()
        held, marked = [chance.choice(devices)], []  # marked: given back, while their group stays
        claim = c.acquire(held[0], grant=('fd', 'node', 'none')[seed % 3])

        def check():
            self.assertEqual([str(p) for p in claim.properties()['Devices']], [device_path(d.name) for d in held])
            self.assertEqual(claim.state, 'held')
            for d in held:
                self.assertEqual((d.driver, str(c.device(d)['Claim'])), (VFIO, claim.path))

        def settle():
            wait(lambda: len(self.records()) == 1, 'only the claim is left')
            kept = {d.group for d in held}
            self.assertEqual({d.address: self.host.binding()[d.address] for d in devices if d.group not in kept},
                             {d.address: before[d.address] for d in devices if d.group not in kept})

        for _ in range(40):
            step = chance.choice(['add', 'add', 'release', 'release', 'crash', 'fail'])
            some = chance.sample(devices, chance.randint(1, 3))
            if step in ('add', 'fail'):
                bad = [d for d in some if d in held or d in marked]
                fault = None
                if step == 'fail':
                    fault = self.kernel.fail('bind', chance.choice(some).address, errno.EBUSY, driver=VFIO)
                try:
                    c.add(claim, *some)
                    self.assertEqual(bad, [])
                    held += some
                except dbus.DBusException as e:
                    name = e.get_dbus_name()
                    self.assertIn(name, ('org.vfiod1.Error.InvalidArgument' if bad else 'org.vfiod1.Error.BindFailed',),
                                  f'{step} {some}: {e}')
                self.kernel.heal()
                del fault
            elif step == 'release':
                some = [d for d in some if d in held]
                if not some or len(some) == len(held):
                    continue
                c.release_devices(claim, *some)
                held = [d for d in held if d not in some]
                marked += some
                gone = [d for d in marked if not any(h.group == d.group for h in held)]
                marked = [d for d in marked if d not in gone]
                for name in {name for d in gone for name in ('device:' + d.name, f'group:{d.group}')}:
                    if name in claim.fds:
                        claim.close(name)
            else:
                wait(lambda: len(self.manager.fds) == 1, 'the lifeline is with the service manager')
                self.daemon.kill()
                self.start(keep_fds=True)
            check()
            settle()
        claim.close()
        self.manager.forget()
        self.wait_gone(claim)
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.host.binding(), before)


class GroupModelTest(ModelTest):
    host_options = {'iommufd': False, 'cdev': False}


for seed in SEEDS:
    setattr(ModelTest, f'test_seed_{seed}', lambda self, seed=seed: self.run_seed(seed))


if __name__ == '__main__':
    harness.main()

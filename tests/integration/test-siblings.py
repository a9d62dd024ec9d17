#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Siblings of a claim: those without a driver stay without one, also those that appear later, and a driver of the host
that was faster is reported."""

import errno
import json
import os

import harness
from harness import VfiodTestCase, device_path, wait
from host import VFIO

PARKED = 'vfiod-parked'
SIBLING_CAME = 'bf4552d29f00f3cd36ad1f6f391ad0c3'
SIBLING_TAKEN = 'bf4552d29f00f3cd36ad1f6f391ad0c4'


class SiblingTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver='nouveau', class_code=0x030000)

    def plug(self, address='0000:06:00.1', **options):
        """Nobody has bound it: the kernel has refused its driver, which it does while a client has attached the group."""
        return self.host.add_device(address, group=8, host_driver='snd', **options)

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.records() == [], 'the record goes')


class WithoutDriverTest(SiblingTestCase):
    """They were there before."""

    def setUp(self):
        super().setUp()
        self.sound = self.plug()
        self.before = self.host.binding()

    def test_no_driver_takes_it_during_the_claim(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.gpu)
        self.assertEqual((self.sound.driver, self.sound.override), (None, PARKED))
        self.kernel._write('/sys/bus/pci/drivers_probe', self.sound.address.encode())
        self.assertIsNone(self.sound.driver)
        self.end(claim)
        self.assert_untouched(self.before)
        self.assertEqual(self.sound.resets, 0)

    def test_a_device_on_its_vfio_driver_as_well(self):
        ready = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        beside = self.host.add_device('0000:07:00.1', group=9, host_driver='snd')
        before = self.host.binding()
        self.start()
        claim = self.client().acquire(ready)
        self.assertEqual(beside.override, PARKED)
        self.end(claim)
        self.assert_untouched(before)

    def test_the_override_of_somebody_else_stays(self):
        for override in ('none', 'snd', VFIO):
            self.host.add_device('0000:06:00.' + str(2 + len(override)), group=8, override=override)
        before = self.host.binding()
        self.start()
        claim = self.client().acquire(self.gpu)
        self.assertEqual({a: b for a, b in self.host.binding().items() if a > '0000:06:00.1'},
                         {a: b for a, b in before.items() if a > '0000:06:00.1'})
        self.end(claim)
        self.assert_untouched(before)

    def test_it_is_put_back_after_a_crash(self):
        daemon = self.start()
        claim = self.client().acquire(self.gpu)
        daemon.kill()
        self.start(keep_fds=True)
        self.assertEqual(self.sound.override, PARKED)
        self.end(claim)
        self.assert_untouched(self.before)

    def test_the_plan_says_so(self):
        self.start()
        member = next(m for m in self.client().plan(self.gpu)['members'] if m['name'] == self.sound.name)
        self.assertEqual((member['disposition'], member['bind'], member['kept']), ('none-needed', False, True))

    def test_it_joins_the_claim(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.gpu)
        c.add(claim, self.sound)
        self.assertEqual((self.sound.driver, self.sound.override), (VFIO, VFIO))
        self.end(claim)
        self.assert_untouched(self.before)

    def test_one_that_cannot_join_stays_without(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.gpu)
        self.host.fail_binding(self.sound)
        with self.refused('BindFailed', self.sound.name):
            c.add(claim, self.sound)
        self.assertEqual((self.sound.driver, self.sound.override), (None, PARKED))
        self.end(claim)
        self.assert_untouched(self.before)

    def test_one_that_cannot_be_put_back_is_quarantined(self):
        daemon = self.start()
        c = self.client()
        claim = c.acquire(self.gpu)
        self.kernel.fail('driver_override', self.sound.address, errno.EIO)
        claim.close()
        wait(lambda: c.device(self.sound)['State'] == 'quarantined', 'it is quarantined')
        self.assertEqual((self.gpu.driver, self.gpu.override), ('nouveau', None))
        self.kernel.heal()
        daemon.kill()
        self.start()
        c = self.client()
        c.manager('Release', 'sa{sv}', claim.id, {})
        wait(lambda: self.records() == [], 'the record goes')
        self.assert_untouched(self.before)

    def test_what_was_left_behind_means_nothing(self):
        last = self.host.add_device('0000:ff:00.0', group=99, override=PARKED)
        self.start()
        wait(lambda: last.override is None, 'the daemon has looked for others')
        before = self.host.binding()
        self.kernel._write(self.sound.path + '/driver_override', PARKED.encode())
        self.end(self.client().acquire(self.gpu))
        self.assert_untouched(before)


class LateTest(SiblingTestCase):
    """They come while the group is claimed."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start()
        self.c = self.client()
        self.claim = self.c.acquire(self.gpu)
        wait(lambda: self.c.seen('InterfacesAdded', self.claim.path), 'what comes now is an announcement of its own')

    def warnings(self):
        return [str(w) for w in self.claim.properties()['Warnings']]

    def test_no_driver_takes_it_until_the_claim_ends(self):
        sound = self.plug()
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.wait_logged(sound.name, 'without a driver', self.claim.id)
        self.assertEqual((sound.driver, self.warnings()), (None, []))
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), ('snd', None))

    def test_the_switch_for_probes_counts(self):
        self.host.kernel.put('/sys/bus/pci/drivers_autoprobe', '0\n')
        sound = self.plug()
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), (None, None))

    def test_it_survives_a_crash(self):
        sound = self.plug()
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.daemon.kill()
        self.start(keep_fds=True)
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), ('snd', None))

    def test_it_came_while_there_was_no_daemon(self):
        self.daemon.kill()
        sound = self.plug()
        self.start(keep_fds=True)
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.end(self.claim)
        self.assertEqual(sound.driver, 'snd')

    def test_it_came_while_the_claim_was_made(self):
        self.end(self.claim)
        gate = self.kernel.hold('bind', self.gpu.address, driver=VFIO)
        pending = self.client().acquire_later(self.gpu)
        wait(lambda: gate.entered, 'it is being bound')
        sound = self.plug()
        wait(lambda: self.c.seen('InterfacesAdded', device_path(sound.name)), 'the daemon knows it')
        gate.let_go()
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        del pending

    def test_a_driver_was_faster(self):
        sound = self.plug(driver='snd')
        self.wait_logged('driver snd took', sound.name, self.claim.id)
        warning, = self.warnings()
        self.assertIn(f'{sound.name} (driver snd)', warning)
        wait(lambda: self.c.seen('PropertiesChanged', self.claim.path, Warnings=[warning]), 'it is announced')
        status = str(self.vfioctl('status', self.claim.id))
        self.assertIn(f'Warning: {sound.name} (driver snd)', ' '.join(status.split()))
        self.host.change_driver(sound, None)
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        wait(lambda: self.warnings() == [], 'the warning goes')
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), ('snd', None))

    def test_the_claim_ends_first(self):
        gate = self.kernel.hold('driver_override', '0000:06:00.1', data=PARKED)
        sound = self.plug()
        wait(lambda: gate.entered, 'the worker is in the kernel')
        self.claim.close()
        self.wait_gone(self.claim)
        gate.let_go()
        wait(lambda: sound.driver == 'snd' and sound.override is None, 'it has its driver after all')

    def test_another_claim_begins_before_that(self):
        """The late override is as good as its own: nobody removes it before its end."""
        self.host.kernel.put('/sys/bus/pci/drivers_autoprobe', '0\n')  # or the driver would be back with the end of the first
        gate = self.kernel.hold('driver_override', '0000:06:00.1', data=PARKED)
        sound = self.plug()
        wait(lambda: gate.entered, 'the worker is in the kernel')
        self.claim.close()
        self.wait_gone(self.claim)
        claim = self.c.acquire(self.gpu)
        gate.let_go()
        other = self.host.add_device('0000:06:00.2', group=8, host_driver='snd')
        wait(lambda: other.override == PARKED, 'a later sibling is kept as well')
        self.assertEqual((sound.driver, sound.override), (None, PARKED))
        self.end(claim)
        self.assertIsNone(sound.override)

    def test_it_is_gone_again(self):
        sound = self.plug()
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.host.remove_device(sound)
        self.end(self.claim)
        self.assertEqual((self.gpu.driver, self.gpu.override), ('nouveau', None))

    def test_another_one_at_its_place(self):
        first = self.plug()
        wait(lambda: first.override == PARKED, 'it is kept without a driver')
        self.host.remove_device(first)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(first.name)), 'it is gone')
        second = self.plug(device=0x4711)
        wait(lambda: second.override == PARKED, 'it is kept without a driver')
        self.end(self.claim)
        self.assertEqual((second.driver, second.override), ('snd', None))

    def replace(self, sound, **options):
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.c.events.clear()
        self.host.remove_device(sound)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(sound.name)), 'it is gone')
        return self.plug(**options)

    def members(self):
        record, = self.slots()
        return [m['name'] for m in json.loads(record)['members']]

    def test_another_one_at_its_place_survives_a_crash(self):
        second = self.replace(self.plug(), device=0x4711)
        wait(lambda: second.override == PARKED, 'it is kept without a driver')
        self.assertEqual(self.members(), [self.gpu.name, second.name])
        self.daemon.kill()
        self.start(keep_fds=True)
        self.assertEqual(self.client().device(self.gpu)['State'], 'claimed')
        self.end(self.claim)
        self.assertEqual((second.driver, second.override), ('snd', None))

    def test_another_one_came_while_there_was_no_daemon(self):
        first = self.plug()
        wait(lambda: first.override == PARKED, 'it is kept without a driver')
        self.daemon.kill()
        self.host.remove_device(first).join()
        second = self.plug(device=0x4711)
        self.start(keep_fds=True)
        wait(lambda: second.override == PARKED, 'it is kept without a driver')
        self.assertEqual(self.members(), [self.gpu.name, second.name])
        self.end(self.claim)
        self.assertEqual((second.driver, second.override), ('snd', None))

    def test_it_is_plugged_in_again(self):
        again = self.replace(self.plug())
        wait(lambda: again.override == PARKED, 'it is kept without a driver')
        self.end(self.claim)
        self.assertEqual((again.driver, again.override), ('snd', None))

    def test_one_of_before_is_plugged_in_again(self):
        """And udev's program was there first."""
        self.end(self.claim)
        sound = self.plug()
        self.claim = self.c.acquire(self.gpu)
        again = self.replace(sound, override=PARKED)
        self.wait_logged(again.name, 'without a driver', self.claim.id)
        self.end(self.claim)
        self.assertEqual((again.driver, again.override), ('snd', None))

    def test_it_is_freed_after_all(self):
        """The kernel had refused the override, and so a driver got it."""
        self.kernel.fail('driver_override', '0000:06:00.1', errno.EBUSY)
        sound = self.plug()
        self.wait_logged(sound.name, 'cannot be kept without a driver')
        self.kernel.heal()
        self.host.change_driver(sound, 'snd')
        wait(lambda: self.warnings() != [], 'it is reported')
        self.host.change_driver(sound, None)
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), ('snd', None))

    def test_one_of_before_leaves_a_driver_that_it_got(self):
        """It has had none, and has none afterwards; what an administrator has set meanwhile stays."""
        self.end(self.claim)
        sound = self.plug()
        self.claim = self.c.acquire(self.gpu)
        for override in ('', 'snd'):
            self.kernel._write(sound.path + '/driver_override', override.encode() or b'\n')
            self.host.change_driver(sound, 'snd')
            wait(lambda: self.warnings() != [], 'it is reported')
            self.host.change_driver(sound, None)
            wait(lambda: self.warnings() == [], 'the warning goes')
            wait(lambda: sound.override == (override or PARKED), 'nobody gets it')
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), (None, 'snd'))

    def test_it_joins_the_claim(self):
        sound = self.plug()
        wait(lambda: sound.override == PARKED, 'it is kept without a driver')
        self.c.add(self.claim, sound)
        self.assertEqual((sound.driver, sound.override), (VFIO, VFIO))
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), ('snd', None))

    def test_bridges_and_drivers_that_do_no_harm(self):
        port = self.host.add_device('0000:06:1c.0', group=8, class_code=0x060400, reset='')
        ready = self.plug('0000:06:00.2', driver=VFIO)
        for device in (port, ready):
            wait(lambda: self.c.seen('InterfacesAdded', device_path(device.name)), 'the daemon knows it')
        self.assertEqual((port.override, self.warnings()), (None, []))
        self.end(self.claim)
        self.assertEqual((ready.driver, ready.override), (VFIO, None))

    def test_the_override_of_a_pin_stays(self):
        sound = self.plug(override='none')
        self.wait_logged(sound.name, 'without a driver')
        self.end(self.claim)
        self.assertEqual((sound.driver, sound.override), (None, 'none'))


class UdevTest(SiblingTestCase):
    """What udev runs, before it loads a driver for the device. There is no udev here, and the daemon hears of nothing."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start()
        self.c = self.client()

    def run_program(self, device):
        self.run_on_host(os.environ['VFIOD_PIN'], f'--sibling={self.directory}/state/claims', device.address)

    def plug_unheard(self, address='0000:06:00.1', **options):
        self.daemon.kill()
        return self.plug(address, **options)

    def test_a_group_that_is_claimed(self):
        claim = self.c.acquire(self.gpu)
        sound = self.plug_unheard()
        self.run_program(sound)
        self.assertEqual(sound.override, PARKED)
        self.start(keep_fds=True)
        self.end(claim)
        self.assertEqual((sound.driver, sound.override), ('snd', None))

    def test_a_claim_that_fails_before_its_turn(self):
        sound = self.plug()
        wait(lambda: self.c.seen('InterfacesAdded', device_path(sound.name)), 'the daemon knows it')
        before = self.host.binding()
        gate = self.kernel.hold('driver_override', self.gpu.address, data=VFIO)
        self.host.fail_binding(self.gpu)
        pending = self.c.acquire_later(self.gpu)
        wait(lambda: gate.entered, 'it is being bound')
        self.run_program(sound)
        self.assertEqual(sound.override, PARKED)
        gate.let_go()
        wait(lambda: pending.done, 'it is refused')
        wait(lambda: self.host.binding() == before, 'the override goes')

    def test_the_record_is_a_file_of_its_own(self):
        self.c.acquire(self.gpu)
        sound = self.plug_unheard()
        self.unpack_slots()
        self.run_program(sound)
        self.assertEqual(sound.override, PARKED)
        self.start()

    def test_others_stay_as_they_are(self):
        devices = [self.plug(), self.host.add_device('0000:09:00.0', group=12, driver='e1000e'),
                   self.host.add_device('0000:09:00.1', group=12, host_driver='e1000e')]
        wait(lambda: self.c.seen('InterfacesAdded', device_path(devices[2].name)), 'the daemon knows it')
        other = self.host.add_device('0000:0a:00.0', group=13, driver=VFIO)
        wait(lambda: self.c.seen('InterfacesAdded', device_path(other.name)), 'the daemon knows it')
        self.c.acquire(other)
        devices += [self.plug_unheard('0000:06:00.2', driver='snd'), self.plug('0000:06:00.3', override='none')]
        before = self.host.binding()
        for device in devices:
            self.run_program(device)
        self.assertEqual(self.host.binding(), before)
        self.start()

    def test_bad_input(self):
        sound = self.plug()
        directory = f'{self.directory}/state/claims'
        self.daemon.kill()
        self.run_on_host(os.environ['VFIOD_PIN'], '--sibling=/nonexistent', sound.address)
        self.run_on_host(os.environ['VFIOD_PIN'], f'--sibling={directory}', '0000:ff:1f.7')
        for text in (b'', b'{', b'[8]', b'{"groups": 8, "state": "held"}', b'{"groups": ["8"], "state": "held"}',
                     b'{"groups": [8], "state": 1}', b'{"groups": [8], "state": "restoring"}', b'\xff' * 300000):
            for name in ('a.json', 'slots'):
                with open(f'{directory}/{name}', 'wb') as f:
                    f.write(text)
            self.run_program(sound)
            self.assertIsNone(sound.override, text[:40])
        with open(f'{directory}/a.json', 'wb') as f:
            f.write(b'{"groups": [8], "state": "held"}')
        self.run_program(sound)
        self.assertEqual(sound.override, PARKED)
        for name in ('a.json', 'slots'):
            os.unlink(f'{directory}/{name}')
        self.start()


class LeftoverTest(SiblingTestCase):
    """udev's program has set the override, and the claim that it was for has ended."""

    def test_it_goes(self):
        self.start()
        sound = self.plug(override=PARKED)
        wait(lambda: sound.driver == 'snd' and sound.override is None, 'it has its driver')

    def test_it_was_there_before_the_daemon(self):
        sound, alone = self.plug(override=PARKED), self.host.add_device('0000:07:00.0', group=9, override=PARKED,
                                                                        host_driver='e1000e')
        late = self.plug('0000:06:00.2', driver='snd', override=PARKED)
        others = [self.plug('0000:06:00.3', override='none'), self.plug('0000:06:00.4')]
        before = [(d.driver, d.override) for d in others]
        self.start()
        wait(lambda: sound.driver == 'snd' and sound.override is None, 'it has its driver')
        wait(lambda: alone.driver == 'e1000e' and alone.override is None, 'it has its driver')
        wait(lambda: late.driver == 'snd' and late.override is None, 'it has its driver')
        self.assertEqual([(d.driver, d.override) for d in others], before)

    def test_the_daemon_ended_first(self):
        daemon = self.start()
        claim = self.client().acquire(self.gpu)
        gate = self.kernel.hold('driver_override', '0000:06:00.1', data=PARKED)
        sound = self.plug()
        wait(lambda: gate.entered, 'the worker is in the kernel')
        claim.close()
        self.wait_gone(claim)
        daemon.kill()
        gate.let_go()
        wait(lambda: sound.override == PARKED, 'the write is done')
        self.start()
        wait(lambda: sound.driver == 'snd' and sound.override is None, 'it has its driver')

    def test_many_at_once(self):
        """One worker after the other, beside the one that is ready for a claim."""
        daemon = self.start()
        c = self.client()
        gate = self.kernel.hold('driver_override', '0000:06:01.0')
        devices = [self.plug(f'0000:06:{1 + i // 8:02x}.{i % 8}', override=PARKED) for i in range(24)]
        wait(lambda: gate.entered, 'the first is in the kernel')
        wait(lambda: c.seen('InterfacesAdded', device_path(devices[-1].name)), 'the daemon knows all')
        self.assertLessEqual(len(daemon.workers()), 2)
        gate.let_go()
        wait(lambda: all(d.driver == 'snd' and d.override is None for d in devices), 'they have their drivers')

    def end_of_another(self, c):
        """What the daemon has begun before has had its time."""
        other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        wait(lambda: c.seen('InterfacesAdded', device_path(other.name)), 'the daemon knows it')
        claim = c.acquire(other)
        claim.close()
        self.wait_gone(claim)

    def test_a_claim_waits_until_it_is_gone(self):
        """Otherwise the worker would remove the override that the claim has set, and the host's driver would bind."""
        self.start()
        c = self.client()
        gate = self.kernel.hold('driver_override', '0000:06:00.1')
        sound = self.plug(override=PARKED)
        wait(lambda: gate.entered, 'the worker is in the kernel')
        pending = c.acquire_later(self.gpu)
        wait(lambda: self.gpu.driver == VFIO, 'the sibling comes next')
        self.end_of_another(c)
        self.assertFalse(pending.done)
        gate.let_go()
        wait(lambda: pending.done, 'it is answered')
        self.assertIn('BindFailed', str(pending.error))  # it was planned before the host's driver was back
        self.assertEqual((sound.driver, sound.override, self.gpu.driver), ('snd', None, 'nouveau'))
        with self.refused('GroupNotViable', '0000:06:00.1', 'snd'):
            c.acquire(self.gpu)

    def test_all_others_stay_as_they_are(self):
        self.start()
        c = self.client()
        devices = [self.plug(), self.plug('0000:06:00.2', override='none')]
        before = self.host.binding()
        last = self.host.add_device('0000:09:00.0', group=12)
        for device in (*devices, last):
            wait(lambda: c.seen('InterfacesAdded', device_path(device.name)), 'the daemon knows it')
        self.end(c.acquire(self.gpu))
        self.assertEqual({a: b for a, b in self.host.binding().items() if a != last.address}, before)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Things that go wrong in the middle: in the kernel, with the client, with the bus, with the daemon itself."""

import contextlib
import errno
import os
import re
import signal
import threading
import time

import harness
from harness import ROOT_PATH, VfiodTestCase, device_path, needs_root, wait
from host import VFIO


class BindTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver='e1000e',
                                             override='e1000e' if n == 6 else None) for n in (6, 7, 8)]
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def acquire_with_failure_at(self, k, **fault):
        self.host.fail_binding(self.devices[k], **fault)
        with self.refused('BindFailed', self.devices[k].name):
            self.c.acquire(*self.devices)
        self.assert_untouched(self.before)
        self.kernel.heal()
        claim = self.c.acquire(*self.devices)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_the_first_cannot_be_bound(self):
        self.acquire_with_failure_at(0)

    def test_the_second_cannot_be_bound(self):
        self.acquire_with_failure_at(1, error=errno.EINVAL)

    def test_the_last_cannot_be_bound(self):
        self.acquire_with_failure_at(2)

    def test_a_bind_that_says_yes_and_binds_nothing(self):
        device = self.devices[1]
        for attribute in ('bind', 'drivers_probe'):
            self.kernel.ignore(attribute, device.address, driver=VFIO)
        with self.refused('BindFailed', device.name):
            self.c.acquire(*self.devices)
        self.kernel.heal()
        self.assert_untouched(self.before)

    def test_an_override_that_is_refused(self):
        self.kernel.fail('driver_override', self.devices[1].address, errno.EINVAL, data=VFIO)
        with self.refused('BindFailed', self.devices[1].name):
            self.c.acquire(*self.devices)
        self.assert_untouched(self.before)

    def test_an_unbind_that_is_refused(self):
        self.kernel.fail('unbind', self.devices[1].address, errno.EBUSY, times=1)
        with self.refused('BindFailed', self.devices[1].name):
            self.c.acquire(*self.devices)
        self.assert_untouched(self.before)

    def test_the_driver_is_not_loaded(self):
        self.kernel.remove_tree('/sys/bus/pci/drivers/vfio-pci')
        with self.refused('BindFailed', self.devices[0].name, VFIO):
            self.c.acquire(*self.devices)
        self.assert_untouched(self.before)

    def test_an_unbind_that_says_yes_and_unbinds_nothing(self):
        bare = self.host.add_device('0000:0a:00.0', group=10)
        c = self.c
        wait(lambda: c.seen('InterfacesAdded', device_path(bare.name)), 'it is there')
        claim = c.acquire(bare)
        self.kernel.ignore('unbind', bare.address)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertIn(bare.name, claim.properties()['Failure'])

    def test_unplugged_while_binding(self):
        victim = self.devices[1]
        for attribute in ('bind', 'drivers_probe'):
            self.kernel.before(attribute, lambda: self.kernel.remove(victim), victim.address, driver=VFIO)
        with self.assertRaises(harness.dbus.DBusException) as caught:
            self.c.acquire(*self.devices)
        self.assertIn(caught.exception.get_dbus_name().rsplit('.', 1)[1], ('DeviceGone', 'BindFailed'))
        self.assertIn(victim.name, caught.exception.get_dbus_message())
        del self.before[victim.address]
        wait(lambda: self.host.binding() == self.before, 'the others are back')
        wait(lambda: self.records() == [], 'the record goes')

    def test_the_restore_after_a_failure_fails(self):
        # Neither forward nor back: nobody gets the device until a person has looked, and nobody is told otherwise.
        device = self.devices[0]
        self.host.fail_binding(device)
        self.host.fail_binding(device, errno.EIO, driver='e1000e')
        with self.assertRaises(harness.dbus.DBusException) as caught:
            self.c.acquire(device)
        self.assertIn(device.name, caught.exception.get_dbus_message())
        self.assertNotIn('everything was put back', caught.exception.get_dbus_message())
        self.assertEqual(self.c.device(device)['State'], 'quarantined')
        self.assertNotEqual(self.records(), [])
        with self.refused('DeviceQuarantined', device.name):
            self.c.acquire(device)
        claim = self.c.acquire(self.devices[1])
        claim.close()
        self.wait_gone(claim)

class ResetTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start('--worker-timeout=1')
        self.c = self.client()

    def assert_quarantined(self, claim):
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertNotEqual(claim.properties()['Failure'], '')
        self.assertEqual(self.c.device(self.nic)['State'], 'quarantined')
        with self.refused('DeviceQuarantined', self.nic.name):
            self.c.acquire(self.nic)
        self.assertEqual(self.records(), [claim.id + '.json'])

    def test_a_reset_that_fails(self):
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.c.acquire(self.nic)
        claim.close()
        self.assert_quarantined(claim)

    def test_a_device_that_does_not_come_back(self):
        claim = self.c.acquire(self.nic)
        self.kernel.put(self.nic.path + '/config', b'\xff' * 4096)
        claim.close()
        self.assert_quarantined(claim)

    def test_a_virtual_function_has_no_ids_in_its_config_space(self):
        vf = self.host.add_device('0000:06:10.0', group=18, driver=VFIO, device=0x10CA, physfn=self.nic)
        wait(lambda: self.c.find(vf).get('Driver') == VFIO, 'it is there')
        claim = self.c.acquire(vf)
        self.config(vf, 0, b'\xff' * 4)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.c.device(vf)['State'], 'free')

    def config(self, device, at, data):
        """This in its config space from now on."""
        with open(self.host.root + device.path + '/config', 'rb') as f:
            config = bytearray(f.read())
        config[at:at + len(data)] = data
        self.kernel.put(device.path + '/config', bytes(config))

    def come_back_wrong(self, change, cause, *words):
        """The reset changes the device, which is healed afterwards and tried again."""
        with open(self.host.root + self.nic.path + '/config', 'rb') as f:
            config = f.read()
        claim = self.c.acquire(self.nic)
        self.kernel.before('reset', change, self.nic.address)
        claim.close()
        self.assert_quarantined(claim)
        self.assertEqual(self.c.device(self.nic)['QuarantineCause'], cause)
        for word in words:
            self.assertIn(word, claim.properties()['Failure'])
        self.kernel.heal()
        self.kernel.put(self.nic.path + '/config', config)
        self.kernel.set_enable(self.nic, 0)
        for name in ('power_state', 'power/runtime_status'):
            self.kernel.put(f'{self.nic.path}/{name}', {'power_state': 'D0\n'}.get(name, 'active\n'))
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.wait_gone(claim)
        self.assertEqual(self.c.device(self.nic)['State'], 'free')

    @needs_root
    def test_it_comes_back_with_other_ids(self):
        self.come_back_wrong(lambda: self.config(self.nic, 2, b'\xff\xff'), 'wrong-identity', '8086:ffff', '8086:10d3')

    @needs_root
    def test_it_comes_back_with_another_class(self):
        self.come_back_wrong(lambda: self.config(self.nic, 9, b'\x00\x80\xff'), 'wrong-identity', '0xff8000', '0x020000')

    @needs_root
    def test_it_comes_back_with_another_subsystem(self):
        self.come_back_wrong(lambda: self.config(self.nic, 0x2C, bytes(4)), 'wrong-identity', '0000:0000', '8086:a01f')

    @needs_root
    def test_it_is_open_after_the_reset(self):
        self.come_back_wrong(lambda: self.kernel.set_enable(self.nic, 1), 'still-open', '`enable` count is 1')

    @needs_root
    def test_it_sleeps_when_it_should_be_awake(self):
        def sleep():
            self.kernel.put(self.nic.path + '/power_state', 'D3hot\n')
            self.kernel.put(self.nic.path + '/power/runtime_status', 'active\n')
        self.come_back_wrong(sleep, 'no-power', 'D3hot')

    def test_its_driver_sends_it_to_sleep_by_itself(self):
        """Like vfio-pci of Linux 5.11 to 5.18, without runtime power management."""
        other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        wait(lambda: self.c.find(other).get('Driver') == 'e1000e', 'it is there')
        self.kernel.put(other.path + '/power_state', 'D3hot\n')
        self.kernel.put(other.path + '/power/runtime_status', 'active\n')
        claim = self.c.acquire(other)
        self.assertEqual(claim.state, 'held')
        self.kernel.put(other.path + '/power_state', 'D0\n')
        claim.close()
        self.wait_gone(claim)

    def test_it_may_sleep_when_nobody_uses_it(self):
        self.kernel.put(self.nic.path + '/power_state', 'D3hot\n')
        self.kernel.put(self.nic.path + '/power/runtime_status', 'suspended\n')
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.c.device(self.nic)['State'], 'free')

    @needs_root
    def test_one_that_is_open_is_not_reset(self):
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.c.acquire(self.nic)
        claim.close()
        self.assert_quarantined(claim)
        self.kernel.heal()
        resets = self.nic.resets
        self.kernel.set_enable(self.nic, 1)
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        wait(lambda: self.c.device(self.nic)['QuarantineCause'] == 'still-open', 'it is quarantined for that')
        self.assertEqual(self.nic.resets, resets)
        self.kernel.set_enable(self.nic, 0)
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.wait_gone(claim)

    @needs_root
    def test_without_power(self):
        """Whether it comes back shows before anybody gets it."""
        self.kernel.put(self.nic.path + '/power_state', 'D3cold\n')
        self.kernel.put(self.nic.path + '/power/runtime_status', 'suspended\n')
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        with open(self.host.root + self.nic.path + '/config', 'rb') as f:
            config = f.read()
        self.kernel.put(self.nic.path + '/config', b'\xff' * 4096)
        with self.refused('DeviceQuarantined', self.nic.name, 'all ones'):
            self.c.acquire(self.nic)
        wait(lambda: self.c.device(self.nic)['QuarantineCause'] == 'no-answer', 'it is quarantined')
        with self.refused('DeviceQuarantined', self.nic.name):
            self.c.acquire(self.nic)
        self.kernel.put(self.nic.path + '/config', config)
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        wait(lambda: self.records() == [], 'the quarantine ends')
        self.c.acquire(self.nic).close()

    def test_one_that_does_not_answer_on_its_vfio_driver(self):
        other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        wait(lambda: self.c.find(other).get('Driver') == 'e1000e', 'it is there')
        self.kernel.put(other.path + '/config', b'\xff' * 4096)
        with self.refused('DeviceQuarantined', other.name, 'does not answer'):
            self.c.acquire(other)
        wait(lambda: self.c.device(other)['QuarantineCause'] == 'no-answer', 'it is quarantined')

    def test_a_reset_that_hangs(self):
        gate = self.kernel.hold('reset', self.nic.address)
        claim = self.c.acquire(self.nic)
        claim.close()
        wait(lambda: gate.entered, 'the reset is under way')
        self.assert_quarantined(claim)
        gate.let_go()

    def test_a_quarantine_survives_the_daemon(self):
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.c.acquire(self.nic)
        claim.close()
        self.assert_quarantined(claim)
        self.assertEqual(self.daemon.stop(), 0)
        self.start()
        self.assert_quarantined(claim)

    @needs_root
    def test_the_journal_names_who_lifts_a_quarantine(self):
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.c.acquire(self.nic)
        claim.close()
        self.assert_quarantined(claim)
        self.c.release(claim)
        self.wait_gone(claim)
        line, = self.wait_logged(f'uid 0 lifted the quarantine of claim {claim.id} of uid 0: {self.nic.name}')
        self.assertRegex(line, f'VFIOD_ACTION=lift-quarantine VFIOD_UID=0 VFIOD_PID={os.getpid()} .*VFIOD_CLAIM={claim.id}')


class StuckTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.before = self.host.binding()

    def test_others_are_served_meanwhile_and_it_times_out(self):
        self.start('--worker-timeout=1')
        c, patient = self.client(), self.client()
        gates = self.host.hold_binding(self.nic)
        answer = patient.acquire_later(self.nic)
        wait(lambda: gates.entered, 'the bind hangs')
        self.assertEqual(c.device(self.nic)['State'], 'binding')
        claim = c.acquire(self.other)
        claim.close()
        self.wait_gone(claim)
        wait(lambda: answer.done, 'the patient client gets an answer')
        self.assertEqual(answer.error.get_dbus_name(), 'org.vfiod1.Error.TimedOut')
        self.assertIn(self.nic.name, answer.error.get_dbus_message())
        self.assertEqual(c.device(self.nic)['State'], 'quarantined')
        gates.let_go()

    def c_stuck(self, c):
        stuck = c.get(ROOT_PATH, 'Manager', 'StuckWorkers')
        self.assertTrue(all(abs(time.time() - since / 1e6) < 600 for *_, since, _ in stuck))
        return [(str(device), str(operation), str(step)) for _, device, operation, step, _, _ in stuck]

    def functions(self, worker):
        """What the kernel shows of where the worker waits, as vfiod reads it."""
        for name in ('stack', 'wchan'):
            with contextlib.suppress(OSError), open(f'/proc/{worker}/{name}', encoding='ascii') as f:
                found = re.findall(r'^(?:\[<\w+>\] )?([A-Za-z_][\w.]*)', f.read(), re.MULTILINE)
                if found:
                    return found[:16]
        return []

    @needs_root
    def test_a_restore_that_hangs(self):
        self.start('--worker-timeout=1')
        c = self.client()
        claim = c.acquire(self.nic)
        gate = self.kernel.hold('unbind', self.nic.address, driver=VFIO)
        claim.close()
        wait(lambda: gate.entered, 'the unbind hangs')
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertIn(self.nic.name, claim.properties()['Failure'])
        self.assertEqual(self.c_stuck(c), [(self.nic.name, 'restore', 'unbind')])
        line, = self.wait_logged('has been stuck in the kernel for', f'(restore: unbind, {self.nic.name})')
        worker = int(re.search('VFIOD_WORKER=([0-9]+)', line)[1])
        self.assertIn(worker, self.daemon.children())
        functions = self.functions(worker)
        self.assertEqual([list(map(str, stack)) for *_, stack in c.get(ROOT_PATH, 'Manager', 'StuckWorkers')], [functions])
        if functions:
            self.assertIn(f'{self.nic.name}): {" ".join(functions)} ', line)
        self.assertIn('VFIOD_STACK=' + ' '.join(functions) if functions else line, line)
        gate.let_go()
        # The kernel did come back, and nothing else was wrong.
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        self.assertEqual(self.c_stuck(c), [])
        self.wait_logged(f'Worker {worker} has returned from the kernel')

    def test_an_open_of_a_group_that_hangs(self):
        self.set_policy([self.rule(backend='group')])
        self.host.change_driver(self.nic, VFIO)
        self.start('--worker-timeout=1')
        c, patient = self.client(), self.client()
        gate = self.kernel.hold('open', data='/dev/vfio/8')
        answer = patient.acquire_later(self.nic)
        wait(lambda: gate.entered, 'the open hangs')
        claim = c.acquire(self.other)
        claim.close()
        self.wait_gone(claim)
        wait(lambda: answer.done, 'the patient client gets an answer')
        self.assertEqual(answer.error.get_dbus_name(), 'org.vfiod1.Error.TimedOut')
        gate.let_go()

    def test_a_worker_that_is_killed(self):
        self.start()
        c = self.client()
        gates = self.host.hold_binding(self.nic)
        answer = c.acquire_later(self.nic)
        wait(lambda: gates.entered, 'the bind is under way')
        for pid in self.daemon.children():  # the spawner as well
            with contextlib.suppress(ProcessLookupError):  # another worker has ended by itself
                os.kill(pid, signal.SIGKILL)
        # Nobody knows what the kernel makes of the write, but the device is put back by another worker. That waits for
        # the kernel, as the lock of the device makes it.
        gates.let_go(errno.EBUSY)
        wait(lambda: answer.done, 'the caller gets an answer')
        self.assertEqual(answer.error.get_dbus_name(), 'org.vfiod1.Error.BindFailed')
        self.assert_untouched(self.before)

    def test_a_client_that_is_killed_while_binding(self):
        self.start()
        c = self.client()
        gates = self.host.hold_binding(self.nic)
        victim = self.tool('busctl', f'--address={self.bus.address}', 'call', 'org.vfiod1', ROOT_PATH,
                           'org.vfiod1.Manager', 'Acquire', 'asa{sv}', '1', self.nic.name, '0')
        wait(lambda: gates.entered, 'the bind is under way')
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        self.assertEqual(c.device(self.nic)['State'], 'binding')
        gates.let_go()
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        wait(lambda: self.records() == [], 'the record goes')
        wait(lambda: c.device(self.nic)['State'] == 'free', 'it is free')

    def test_a_client_that_takes_the_reply_and_dies(self):
        self.start()
        c = self.client()
        status, output = self.busctl('call', 'org.vfiod1', ROOT_PATH, 'org.vfiod1.Manager', 'Acquire', 'asa{sv}', '1',
                                     self.nic.name, '0')
        self.assertEqual(status, 0, output)
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(c.properties(ROOT_PATH, 'Manager')['Claims'], 0)


class RecordTest(VfiodTestCase):
    def test_without_a_record_nothing_is_touched(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        before = self.host.binding()
        self.start()
        c = self.client()
        os.rename(f'{self.directory}/state/claims', f'{self.directory}/claims-away')
        os.rmdir(f'{self.directory}/claims-away')
        for backend in ('iommufd', 'group'):
            with self.refused('Internal', nic.name):
                c.acquire(nic, backend=backend)
        self.assertEqual(self.kernel.writes, [])
        self.assertEqual(self.host.binding(), before)
        self.assertEqual(c.device(nic)['State'], 'free')


class UnplugTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        self.c = self.client()

    def test_unplug_of_a_held_device(self):
        claim = self.c.acquire(self.nic)
        self.kernel.set_enable(self.nic, 1)
        self.host.remove_device(self.nic)
        # The kernel waits for the client; what is seen is that the node went.
        wait(lambda: self.c.device(self.nic)['VfioNode'] == '', 'the node goes')
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.kernel.set_enable(self.nic, 0)
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.nic.name)), 'the device goes')
        wait(lambda: self.records() == [], 'the record goes')

    def test_unplug_of_an_idle_held_device_and_another_in_its_place(self):
        claim = self.c.acquire(self.nic)
        removal = self.host.remove_device(self.nic)
        claim.close('device:pci:0000:06:00.0')
        removal.join(harness.WAIT_TIMEOUT)
        new = self.host.add_device('0000:06:00.0', group=8, driver='nvme', vendor=0x144D, device=0xA808,
                                   class_code=0x010802)
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.c.find(new).get('Driver') == 'nvme', 'the new one is seen')
        self.assertEqual((new.driver, new.override, new.resets), ('nvme', None, 0))
        self.assertEqual(self.c.device(new)['Vendor'], 0x144D)


    def quarantine(self, *devices):
        for device in devices:
            self.kernel.fail('reset', device.address, errno.ENOTTY)
        claim = self.c.acquire(*devices)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.kernel.heal()
        return claim

    def test_unplug_of_a_quarantined_device_while_there_is_no_daemon(self):
        self.quarantine(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        self.host.remove_device(self.nic).join(harness.WAIT_TIMEOUT)
        new = self.host.add_device('0000:06:00.0', group=8, driver='nvme', vendor=0x144D, device=0xA808,
                                   class_code=0x010802)
        self.start()
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.c.device(new)['State'], 'free')
        self.assertEqual((new.driver, new.override, new.resets), ('nvme', None, 0))

    def test_a_quarantine_does_not_pass_on_to_a_new_card(self):
        other = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        wait(lambda: self.c.find(other).get('Driver') == VFIO, 'it is there')
        claim = self.quarantine(self.nic, other)
        self.host.remove_device(self.nic).join(harness.WAIT_TIMEOUT)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.nic.name)), 'it is gone')
        new = self.host.add_device('0000:06:00.0', group=8, driver='nvme', vendor=0x144D, device=0xA808,
                                   class_code=0x010802)
        wait(lambda: self.c.find(new).get('Driver') == 'nvme', 'the new one is seen')
        self.host.remove_device(other).join(harness.WAIT_TIMEOUT)
        self.wait_gone(claim)
        self.assertEqual(self.c.device(new)['State'], 'free')
        self.assertEqual((new.driver, new.override, new.resets), ('nvme', None, 0))

    def test_unplug_while_it_is_put_back(self):
        # Neither a quarantine nor a claim is left on a place where nothing is, and what is plugged in there is free.
        for number, (attribute, data) in enumerate((('reset', '1'), ('unbind', None), ('driver_override', '\n'))):
            nic = self.host.add_device(f'0000:1{number}:00.0', group=20 + number, driver='e1000e')
            wait(lambda: self.c.seen('InterfacesAdded', device_path(nic.name)), 'it is there')
            wait(lambda: self.c.device(nic)['Driver'] == 'e1000e', 'with its driver')
            claim = self.c.acquire(nic)
            self.kernel.before(attribute, lambda: self.kernel.remove(nic), nic.address, data=data)
            claim.close()
            self.wait_gone(claim)
            wait(lambda: self.c.seen('InterfacesRemoved', device_path(nic.name)), 'the device goes')
            self.c.events.clear()
            new = self.host.add_device(nic.address, group=20 + number, driver='e1000e')
            wait(lambda: self.c.seen('InterfacesAdded', device_path(new.name)), 'another is there')
            self.assertEqual(self.c.device(new)['State'], 'free')

    def test_an_admin_takes_the_driver_away(self):
        claim = self.c.acquire(self.nic)
        thread = threading.Thread(target=self.host.change_driver, args=(self.nic, 'e1000e'), daemon=True)
        thread.start()
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.assertIn(self.nic.name, claim.properties()['Failure'])
        claim.close()
        thread.join(harness.WAIT_TIMEOUT)
        self.wait_gone(claim)
        # What the admin did stays.
        self.assertEqual(self.host.binding()[self.nic.address], ('e1000e', '(null)\n'))
        self.assertEqual(self.nic.resets, 0)


class BusTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()
        self.start()

    def test_a_bus_that_restarts(self):
        c = self.client()
        claim = c.acquire(self.nic)
        number = os.fstat(claim.fds['device:pci:0000:06:00.0']).st_ino
        c.close()
        self.bus.stop()
        self.bus.start()
        c = self.client()
        wait(lambda: c.connection.name_has_owner(harness.NAME) or c.events.clear(), 'the name is owned again')
        claim.client = c
        self.assertEqual(claim.state, 'held')
        self.assertEqual(os.fstat(claim.fds['device:pci:0000:06:00.0']).st_ino, number)
        second = c.acquire(self.disk)
        second.close()
        self.wait_gone(second)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_bus_that_goes_while_a_call_is_under_way(self):
        c = self.client()
        gates = self.host.hold_binding(self.nic)
        c.acquire_later(self.nic)
        wait(lambda: gates.entered, 'the bind is under way')
        self.bus.stop()
        self.bus.start()
        c = self.client()
        wait(lambda: c.connection.name_has_owner(harness.NAME), 'the name is owned again')
        self.assertEqual(c.device(self.nic)['State'], 'binding')
        gates.let_go()
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        self.assert_untouched(self.before)

    def test_a_claim_that_ends_while_there_is_no_bus(self):
        c = self.client()
        claim = c.acquire(self.nic)
        c.close()
        self.bus.stop()
        claim.close()
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        wait(lambda: self.records() == [], 'the record goes')
        self.bus.start()
        c = self.client()
        wait(lambda: c.connection.name_has_owner(harness.NAME), 'the name is owned again')
        self.assertEqual(c.properties(ROOT_PATH, 'Manager')['Claims'], 0)


class CrashTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()

    def test_killed_while_held_without_fd_store(self):
        # Records only: nobody has the lifeline's end any more, so the claim ends; what is open is waited for.
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        self.daemon.kill()
        self.assertEqual(self.records(), [claim.id + '.json'])
        self.start()
        self.assertEqual(claim.state, 'draining')
        with self.refused('DeviceClaimed', self.nic.name):
            c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_killed_while_held_with_fd_store(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()  # systemd drops its own when the pipe hangs up
        self.assertEqual(claim.state, 'held')
        self.assertEqual(claim.properties()['Uid'], os.getuid())
        with self.refused('DeviceClaimed', self.nic.name):
            c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_stopped_and_started_with_fd_store(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(self.nic.driver, VFIO)
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_killed_while_binding(self):
        self.start()
        c = self.client()
        gates = self.host.hold_binding(self.nic)
        answer = c.acquire_later(self.nic)
        wait(lambda: gates.entered, 'the bind is under way')
        self.assertEqual(len(self.records()), 1)
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        # What had been written to the kernel is done by it, whether somebody still waits or not.
        gates.let_go()
        wait(lambda: self.nic.driver == VFIO, 'the kernel has bound it')
        self.start()
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        wait(lambda: self.records() == [], 'the record goes')
        claim = c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)

    def test_stopped_while_binding(self):
        self.start()
        c = self.client()
        gates = self.host.hold_binding(self.nic)
        answer = c.acquire_later(self.nic)
        wait(lambda: gates.entered, 'the bind is under way')
        self.assertEqual(self.daemon.stop(), 0)
        wait(lambda: answer.done, 'the caller hears of it')
        gates.let_go()
        wait(lambda: self.nic.driver == VFIO, 'the kernel has bound it')
        self.start()
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        self.assert_untouched(self.before)

    def test_killed_between_override_and_unbind(self):
        self.start()
        c = self.client()
        gate = self.kernel.hold('unbind', self.nic.address)
        answer = c.acquire_later(self.nic)
        wait(lambda: gate.entered, 'the unbind is under way')
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        gate.let_go(errno.EBUSY)
        self.start()
        wait(lambda: self.host.binding() == self.before, 'the device is back')
        wait(lambda: self.records() == [], 'the record goes')

    def test_killed_while_draining(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        claim.close('lifeline')
        wait(lambda: claim.state == 'draining', 'it drains')
        self.daemon.kill()
        self.start()
        self.assertEqual(claim.state, 'draining')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_damaged_records_stop_nobody(self):
        for name, text in (('0123456789abcdef.json', '{'), ('fedcba9876543210.json', ''), ('x.json', '[]')):
            with open(f'{self.directory}/state/claims/{name}', 'w') as f:
                f.write(text)
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)
        # Which devices they named cannot be told, so one that is on a vfio driver may be in use.
        with self.refused('DeviceQuarantined', self.disk.name):
            c.acquire(self.disk)
        self.assertEqual(c.properties(ROOT_PATH, 'Manager')['Claims'], 1)


if __name__ == '__main__':
    harness.main()

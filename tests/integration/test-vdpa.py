#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims of vDPA devices: one opener, no group, a node that nothing announces."""

import errno
import os
import threading

import harness
from harness import VfiodTestCase, device_path, wait
from host import VFIO


class VdpaTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.vdpa = self.host.add_vdpa('vdpa0', driver='virtio_vdpa')
        self.ready = self.host.add_vdpa('vdpa1', driver='vhost_vdpa')
        self.before = self.host.binding()
        self.set_policy([self.rule(device='vdpa:*', grant=['fd', 'node', 'none'])])
        self.start()
        self.c = self.client()

    def restart(self):
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()


class ClaimTest(VdpaTestCase):
    def test_claim_and_release_of_a_device_with_a_host_driver(self):
        claim = self.c.acquire(self.vdpa)
        self.assertEqual(set(claim.fds), {'device:vdpa:vdpa0', 'lifeline'})
        self.assertEqual(claim.result['backend'], 'vhost-vdpa')
        self.assertEqual(self.host.attribute(self.vdpa, 'driver_override'), 'vhost_vdpa\n')
        self.assertEqual(os.readlink(f'/proc/self/fd/{claim.fds["device:vdpa:vdpa0"]}'),
                         self.host.root + self.host.cdev(self.vdpa))
        self.assertEqual(self.vdpa.resets, 1)
        p = self.c.device(self.vdpa)
        self.assertEqual((p['State'], p['Driver'], p['Group'], p['VfioNode']),
                         ('claimed', 'vhost_vdpa', '/', self.host.cdev(self.vdpa)))
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        p = self.c.device(self.vdpa)
        self.assertEqual((p['State'], p['Driver'], p['VfioNode']), ('free', 'virtio_vdpa', ''))

    def test_a_prepared_device_is_left_on_its_driver(self):
        for _ in range(3):
            claim = self.c.acquire(self.ready)
            claim.close()
            self.wait_gone(claim)
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(self.before)

    def test_two_devices_of_one_claim(self):
        claim = self.c.acquire(self.vdpa, self.ready)
        self.assertEqual(set(claim.fds), {'device:vdpa:vdpa0', 'device:vdpa:vdpa1', 'lifeline'})
        claim.close('device:vdpa:vdpa0')
        self.c.release_devices(claim, self.vdpa)
        wait(lambda: self.c.device(self.vdpa)['State'] == 'free', 'it is free')
        self.assertEqual(self.vdpa.driver, 'virtio_vdpa')
        self.assertEqual(self.c.device(self.ready)['State'], 'claimed')
        self.c.add(claim, self.vdpa)
        self.assertIn('device:vdpa:vdpa0', claim.fds)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def kept(self):
        """The nodes of which a worker has a copy."""
        files = [name.removeprefix(self.host.root) for pid in self.daemon.children() for name in harness.files_of(pid)]
        return {path for path in files if path.startswith('/dev/vhost-vdpa-')}

    def test_the_last_close_is_that_of_a_worker(self):
        """... also of devices that were added: the bus may have the files for a moment, and the kernel may sleep then."""
        claim = self.c.acquire(self.vdpa)
        self.assertEqual(self.kept(), {self.host.cdev(self.vdpa)})
        self.c.add(claim, self.ready)
        self.assertEqual(self.kept(), {self.host.cdev(self.vdpa), self.host.cdev(self.ready)})
        self.c.release(claim)
        wait(lambda: claim.state == 'draining', 'it drains')
        wait(lambda: not self.kept(), 'the copies are gone')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_it_is_open_until_its_last_file_is_closed(self):
        claim = self.c.acquire(self.vdpa)
        self.c.release(claim)
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertEqual([(int(pid), list(map(str, files))) for pid, _, files in self.c.get(claim.path, 'Claim', 'OpenFiles')],
                         [(os.getpid(), ['vhost-vdpa'])])
        with self.refused('DeviceClaimed', 'vdpa:vdpa0'):
            self.c.acquire(self.vdpa)
        self.assertEqual(self.vdpa.driver, 'vhost_vdpa')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_it_is_open_until_the_kernel_has_reset_it(self):
        # The kernel reports the close first. Until the reset is done, an open says EBUSY.
        claim = self.c.acquire(self.ready)
        node = self.host.cdev(self.ready)
        busy = self.kernel.fail('open', error=errno.EBUSY, data=node, times=3)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(busy.hits, 3)
        self.c.acquire(self.ready).close()

    def test_a_plan_says_what_it_exposes(self):
        plan = self.c.plan(self.vdpa)
        self.assertEqual((plan['backend'], plan['groups']), ('vhost-vdpa', []))
        self.assertEqual(plan['exposes'], 'the opened vdpa:vdpa0 go to the caller, who can pass them on')
        for device, node in ((self.vdpa, 'the node of vdpa:vdpa0 below /dev become usable by uid'),
                             (self.ready, f'{self.host.cdev(self.ready)} become usable by uid')):
            self.assertEqual(self.c.plan(device, grant='node')['exposes'][:len(node)], node)
        self.assertEqual(self.kernel.writes, [])

    def test_a_node_of_its_user(self):
        claim = self.c.acquire(self.vdpa, grant='node')
        self.assertEqual(set(claim.fds), {'lifeline'})
        fd = self.host.hold_node(self.host.cdev(self.vdpa))  # nobody else has it open
        claim.close()
        wait(lambda: claim.state == 'draining', 'it drains')
        os.close(fd)
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_node_that_nobody_has_opened(self):
        for grant in ('node', 'none'):
            claim = self.c.acquire(self.vdpa, grant=grant)
            claim.close()
            self.wait_gone(claim)
            self.assert_untouched(self.before)


class RefusalTest(VdpaTestCase):
    def test_somebody_else_has_it_open(self):
        fd = self.host.hold_node(self.host.cdev(self.ready))
        with self.refused('GroupInUse', f'vdpa:vdpa1: process {os.getpid()}', 'has vdpa1 open'):
            self.c.acquire(self.ready)
        os.close(fd)
        self.assert_untouched(self.before)
        self.c.acquire(self.ready).close()

    def test_the_driver_is_not_loaded(self):
        self.kernel.remove(self.ready)
        self.kernel.remove_tree('/sys/bus/vdpa/drivers/vhost_vdpa')
        with self.refused('BackendUnavailable', 'vdpa:vdpa0', 'vhost_vdpa', 'modprobe vhost_vdpa'):
            self.c.acquire(self.vdpa)
        self.assertEqual(self.kernel.writes, [])

    def test_the_driver_does_not_take_it(self):
        self.kernel.fail('bind', 'vdpa0', errno.EOPNOTSUPP, driver='vhost_vdpa')
        with self.refused('BindFailed', 'vdpa:vdpa0', 'vhost_vdpa'):
            self.c.acquire(self.vdpa)
        self.assert_untouched(self.before)

    def test_other_backends_and_other_kinds(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.set_policy([self.rule(device=['vdpa:*', '*'])])
        wait(lambda: self.c.seen('InterfacesAdded', device_path(nic.name)), 'the card is there')
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        for backend in ('iommufd', 'group', 'noiommu'):
            with self.refused('BackendUnavailable', 'vdpa:vdpa0', backend):
                self.c.acquire(self.vdpa, backend=backend)
        with self.refused('BackendUnavailable', nic.name, 'vhost-vdpa'):
            self.c.acquire(nic, backend='vhost-vdpa')
        with self.refused('InvalidArgument', 'one claim for each kind'):
            self.c.acquire(self.vdpa, nic)
        self.c.acquire(self.vdpa, backend='vhost-vdpa').close()

    def test_a_rule_for_other_backends_or_none(self):
        self.set_policy([self.rule(device='vdpa:vdpa0', backend='iommufd'), self.rule('cards', device='*')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('BackendUnavailable', 'vdpa:vdpa0'):
            self.c.acquire(self.vdpa)
        with self.refused('AccessDenied', 'vdpa:vdpa1'):
            self.c.acquire(self.ready)

    def test_names_that_are_none(self):
        for name in ('vdpa:', 'vdpa:../../x', 'vdpa:a b', 'vdpa:' + 'x' * 60):
            with self.refused('InvalidName'):
                self.c.acquire(name)
        with self.refused('NoSuchDevice', 'vdpa:vdpa9'):
            self.c.acquire('vdpa:vdpa9')


class ParentTest(VdpaTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='mlx5_core')
        self.child = self.host.add_vdpa('child0', driver='virtio_vdpa', parent=self.nic)
        self.set_policy([self.rule(device=['vdpa:*', '*'])])
        wait(lambda: self.c.seen('InterfacesAdded', device_path(self.child.name)), 'it is there')
        self.c.manager('ReloadPolicy', 'a{sv}', {})

    def test_the_parent_is_not_free_while_it_is_held(self):
        claim = self.c.acquire(self.child)
        with self.refused('DeviceClaimed', self.nic.name, 'vdpa:child0'):
            self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)

    def test_the_parent_is_not_free_while_it_exists(self):
        with self.refused('HostCritical', self.nic.name, 'vdpa:child0', 'vdpa dev del'):
            self.c.acquire(self.nic)
        self.kernel.remove(self.child)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.child.name)), 'it is gone')
        self.c.acquire(self.nic).close()


class TroubleTest(VdpaTestCase):
    def devices_of(self, claim):
        return [str(self.c.get(path, 'Device', 'Name')) for path in claim.properties()['Devices']]

    def test_a_reset_that_hangs_at_the_open(self):
        # Nobody else waits, and what may be open in a worker that sleeps in the kernel is nobody's.
        self.daemon.stop()
        self.start('--worker-timeout=1')
        c, patient = self.client(), self.client()
        gate = self.kernel.hold('open', data=self.host.cdev(self.ready))
        answer = patient.acquire_later(self.ready)
        wait(lambda: gate.entered, 'the open hangs')
        self.assertEqual(c.device(self.vdpa)['State'], 'free')
        wait(lambda: answer.done, 'the patient client gets an answer')
        self.assertEqual(answer.error.get_dbus_name(), 'org.vfiod1.Error.TimedOut')
        self.assertEqual(c.device(self.ready)['State'], 'quarantined')
        gate.let_go()

    def test_its_client_leaves_before_the_answer(self):
        gate = self.kernel.hold('open', data=self.host.cdev(self.ready))
        leaving = self.client()
        leaving.acquire_later(self.ready)
        wait(lambda: gate.entered, 'it is being opened')
        leaving.close()
        gate.let_go()
        wait(lambda: not self.records(), 'it ends')
        self.assert_untouched(self.before)
        self.c.acquire(self.ready).close()

    def test_an_open_that_fails(self):
        gate = self.kernel.hold('open', data=self.host.cdev(self.ready))
        answer = self.c.acquire_later(self.ready)
        wait(lambda: gate.entered, 'it is being opened')
        gate.let_go(errno.EIO)
        wait(lambda: answer.done, 'there is an answer')
        self.assertEqual(answer.error.get_dbus_name(), 'org.vfiod1.Error.OpenFailed')
        wait(lambda: not self.records(), 'it ends')
        self.assert_untouched(self.before)

    def test_it_is_removed_after_a_crash(self):
        claim = self.c.acquire(self.ready)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.restart()
        thread = self.host.remove_device(self.ready)
        wait(lambda: claim.state == 'draining', 'it drains')
        claim.close()
        thread.join()
        self.wait_gone(claim)

    def test_a_crash_while_it_is_held(self):
        claim = self.c.acquire(self.vdpa)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.restart()
        self.assertEqual(claim.state, 'held')
        self.assertEqual(self.vdpa.driver, 'vhost_vdpa')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_it_ends_while_there_is_no_daemon(self):
        for device in (self.vdpa, self.ready):
            claim = self.c.acquire(device)
            wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
            self.daemon.kill()
            claim.close()
            self.start(keep_fds=True)
            self.manager.forget()
            self.wait_gone(claim)
            self.assert_untouched(self.before)

    def test_a_crash_in_the_middle_of_a_bind(self):
        gate = self.kernel.hold('bind', 'vdpa0', driver='vhost_vdpa')
        self.c.acquire_later(self.vdpa)
        wait(lambda: gate.entered, 'it is being bound')
        self.daemon.kill()
        gate.let_go()
        self.kernel.settle()
        self.start(keep_fds=True)
        wait(lambda: self.host.binding() == self.before and not self.records(), 'it is back')

    def test_it_is_quarantined_when_its_driver_does_not_take_it_back(self):
        claim = self.c.acquire(self.vdpa)
        self.kernel.fail('bind', 'vdpa0', errno.EIO, driver='virtio_vdpa')
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        with self.refused('DeviceQuarantined', 'vdpa:vdpa0'):
            self.c.acquire(self.vdpa)
        self.restart()
        self.assertEqual(claim.state, 'quarantined')
        self.kernel.heal()
        self.c.release(claim)
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_it_is_removed_while_it_is_held(self):
        # Its client would never hear of it otherwise, and whoever removes it waits for the client.
        claim = self.c.acquire(self.ready, self.vdpa)
        thread = self.host.remove_device(self.ready)
        wait(lambda: 'vdpa:vdpa1' not in self.devices_of(claim), 'the claim has lost it')
        self.assertEqual(self.c.device(self.vdpa)['State'], 'claimed')
        thread2 = self.host.remove_device(self.vdpa)
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertIn('vdpa:vdpa0', claim.properties()['Failure'])
        claim.close()
        thread.join()
        thread2.join()
        self.wait_gone(claim)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.ready.name)), 'it is gone')

    def test_another_program_moves_it_while_it_is_held(self):
        claim = self.c.acquire(self.vdpa)
        mover = threading.Thread(target=self.host.change_driver, args=(self.vdpa, None))
        mover.start()
        wait(lambda: claim.state == 'draining', 'it drains')
        claim.close()
        mover.join()
        self.wait_gone(claim)
        self.assertEqual(self.records(), [])

    def test_an_unreadable_record(self):
        claim = self.c.acquire(self.ready)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.daemon.kill()
        self.unpack_slots()
        with open(f'{self.directory}/state/claims/{claim.id}.json', 'w') as f:
            f.write('{"id": "x", "members": [{"name": "vdpa:vdpa1"')
        self.start(keep_fds=True)
        with self.refused('DeviceQuarantined', 'vdpa:vdpa1'):
            self.c.acquire(self.ready)
        self.daemon.kill()  # what is quarantined is so in the next one, too
        self.start(keep_fds=True)
        with self.refused('DeviceQuarantined', 'vdpa:vdpa1'):
            self.c.acquire(self.ready)
        claim.close()


if __name__ == '__main__':
    harness.main()

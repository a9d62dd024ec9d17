#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices of other kinds than PCI: listed, followed, named in the policy, and refused where they cannot be had."""

import errno
import os
import pathlib
import re
import shutil

from gi.repository import GLib

import harness
from harness import ROOT_PATH, VfiodTestCase, device_path, wait
from host import VFIO

UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
KINDS = ['pci', 'mdev', 'platform', 'vdpa', 'ap', 'ccw', 'fsl-mc', 'cdx']
ALLOW_ALL = {'effect': 'allow', 'who': {}, 'what': {'bus': KINDS}, 'reset': 'optional'}
ALLOW_ANYTHING = {'effect': 'allow', 'who': {}, 'what': {}, 'reset': 'optional'}


class KindsTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver='i915', class_code=0x030000)
        self.mdev = self.host.add_mdev(UUID, parent=self.gpu)
        self.others = [
            self.host.add_other('platform', 'QEMU0002:00', driver='fw_cfg'),
            self.host.add_other('platform', 'fff51000.ethernet', firmware=False, group=9),
            self.host.add_other('ap', '00.0001', driver='cex4queue'),
            self.host.add_other('ccw', '0.0.1234', driver='dasd-eckd'),
            self.host.add_other('fsl-mc', 'dpni.3', group=10),
            self.host.add_other('cdx', 'cdx-00:00', group=11, driver='vfio-cdx')]
        self.unlisted = [
            self.host.add_other('platform', 'pcspkr', firmware=False, driver='pcspkr'),
            self.host.add_other('platform', 'a' * 39)]
        self.set_policy([ALLOW_ALL])
        self.start()
        self.c = self.client()

    def test_each_is_listed(self):
        devices = [self.gpu, self.mdev, *self.others]
        listed = {p for p in self.c.objects() if p.startswith(ROOT_PATH + '/device/')}
        self.assertEqual(listed, {device_path(d.name) for d in devices})
        for d in devices:
            p = self.c.device(d)
            self.assertEqual((p['Name'], p['Driver'], p['State']), (d.name, d.driver or '', 'free'))
            self.assertEqual(self.c.manager('GetDevice', 's', d.name), device_path(d.name))
            self.assertEqual(p['Group'], f'{ROOT_PATH}/group/{d.group}' if d.group is not None else '/')
        self.assertEqual(self.c.device(self.mdev)['VfioNode'], '/dev/vfio/devices/vfio0')

    def test_vfioctl_shows_them(self):
        status, text = self.vfioctl('list')
        self.assertEqual(status, 0, text)
        for d in self.others:
            self.assertRegex(text, rf'(?m)^{d.name} .* {d.driver or "-"} ')
        status, text = self.vfioctl('status', self.mdev.name)
        self.assertEqual(status, 0, text)
        self.assertIn('mtty', text)
        self.assertNotIn('0000:0000', text)

    def test_each_claim_is_refused_with_the_kind(self):
        refused = [d for d in self.others if d.bus != 'platform']
        for d in refused:
            with self.refused('NotSupported', f'devices of the kind {d.bus}'):
                self.c.acquire(d)
        status, text = self.vfioctl('plan', refused[0].name)
        self.assertEqual(status, 49, text)
        self.assertIn('Choose a device of another kind', text)

    def test_what_is_no_name_is_refused_as_such(self):
        with self.refused('InvalidName', 'named by its UUID'):
            self.c.acquire('mdev:83b8f4f2')
        with self.refused('NoSuchDevice'):
            self.c.acquire('mdev:' + UUID[:-1] + '2')
        with self.refused('NoSuchDevice'):
            self.c.acquire(self.unlisted[0])

    def test_uuids_that_are_none(self):
        for bad in ('', UUID[:-1], UUID + '0', UUID.replace('-', ''), UUID.replace('-', '_'), UUID[:8] + UUID[9:] + '-',
                    'g' + UUID[1:], '{' + UUID + '}', ' ' + UUID, UUID + '\n', UUID[:-1] + '\u0661', '../' + UUID, '*', UUID[:-1] + '*'):
            for ask in (lambda name: self.c.acquire(name), lambda name: self.c.plan(name),
                        lambda name: self.c.manager('ReleaseDevices', 'sasa{sv}', '0' * 16, [name], {})):
                with self.subTest(bad), self.refused('InvalidName'):
                    ask('mdev:' + bad)
        self.assertEqual(self.kernel.writes, [])

    def test_they_are_followed(self):
        new = self.host.add_mdev(UUID[:-1] + '2')
        wait(lambda: self.c.seen('InterfacesAdded', device_path(new.name)), 'the device is announced')
        wait(lambda: self.c.device(new)['Driver'] == 'mtty', 'its driver is seen')
        wait(lambda: self.c.device(new)['VfioNode'] == '/dev/vfio/devices/vfio1', 'its node is seen')
        self.host.remove_device(new)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(new.name)), 'the removal is announced')
        cdx = self.others[-1]
        self.host.change_driver(cdx, None)
        wait(lambda: self.c.device(cdx)['Driver'] == '', 'it has lost its driver')
        # What happens to a mediated device happens to it alone.
        self.assertEqual(self.c.device(self.gpu)['Driver'], 'i915')
        self.assertEqual(self.c.device(self.mdev)['VfioNode'], '/dev/vfio/devices/vfio0')

    def test_a_parent_with_a_mediated_device_is_not_free(self):
        with self.refused('HostCritical', self.mdev.name):
            self.c.acquire(self.gpu)


class ReplacedTest(VfiodTestCase):
    """A device that was removed while there was no daemon, and another one made under its name."""

    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver='i915', class_code=0x030000)
        self.host.load_platform_driver()
        self.host.add_vdpa('vdpa1', driver='vhost_vdpa')  # which loads that
        self.devices = [
            self.host.add_mdev(UUID, parent=self.gpu),
            self.host.add_vdpa('vdpa0', driver='virtio_vdpa'),
            self.host.add_other('platform', 'fff51000.ethernet', firmware=False, group=9, driver='xgmac')]
        self.set_policy([ALLOW_ALL])
        self.start()
        self.c = self.client()

    def replace(self, device):
        """All is as it was, but the directory is another one: they are there at the same time for a moment."""
        path = self.host.root + device.path
        os.rename(path, path + '.gone')
        shutil.copytree(path + '.gone', path, symlinks=True)
        self.kernel.remove_tree(device.path + '.gone')

    def hold(self, device):
        claim = self.c.acquire(device)
        for name, fd in claim.fds.items():
            if name != 'lifeline':
                os.close(fd)
        claim.fds = {'lifeline': claim.fds['lifeline']}
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        return claim

    def begin_again(self):
        self.kernel.writes.clear()
        self.start(keep_fds=True)
        self.manager.forget()
        self.c = self.client()

    def test_it_is_not_the_claimed_one(self):
        for device in self.devices:
            with self.subTest(device.name):
                self.hold(device)
                driver = device.driver
                self.daemon.kill()
                self.replace(device)
                self.begin_again()
                wait(lambda: self.records() == [], 'the claim is over')
                self.assertEqual((self.kernel.writes, device.driver), ([], driver))
                self.assertEqual(self.c.device(device)['State'], 'free')

    def test_it_is_the_same_one(self):
        for device in self.devices:
            with self.subTest(device.name):
                claim = self.hold(device)
                self.daemon.kill()
                self.begin_again()
                self.assertEqual((claim.state, self.c.device(device)['State']), ('held', 'claimed'))
                claim.close()
                self.wait_gone(claim)

    def test_a_record_of_a_version_that_did_not_look(self):
        """It has the same number for each device of such a kind."""
        device = self.devices[0]
        claim = self.hold(device)
        self.daemon.kill()
        self.unpack_slots()
        path = pathlib.Path(f'{self.directory}/state/claims/{claim.id}.json')
        text = path.read_text()
        identity, = re.findall(r'"identity": ?(\d+)', text)
        self.assertGreater(int(identity), 1)
        path.write_text(text.replace(identity, '1'))
        self.begin_again()
        self.assertEqual((claim.state, self.c.device(device)['State']), ('held', 'claimed'))
        claim.close()
        self.wait_gone(claim)


class MdevTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver='i915', class_code=0x030000)
        self.mdev = self.host.add_mdev(UUID, parent=self.gpu)
        self.node = self.host.cdev(self.mdev)
        self.before = self.host.binding()
        self.set_policy([self.rule(device=['mdev:*', '*'], grant=['fd', 'node', 'none'])])
        self.start()
        self.c = self.client()

    def assert_left_alone(self):
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(self.before)

    def test_claim_and_release(self):
        for spelling in (UUID, UUID.upper(), 'mdev:' + UUID, self.mdev.path):
            claim = self.c.acquire(spelling)
            self.assertEqual(set(claim.fds), {'device:' + self.mdev.name, 'iommufd', 'lifeline'})
            self.assertEqual(os.readlink(f'/proc/self/fd/{claim.fds["device:" + self.mdev.name]}'),
                             self.host.root + self.node)
            self.assertEqual(self.c.device(self.mdev)['State'], 'claimed')
            with self.refused('DeviceClaimed', self.mdev.name):
                self.client().acquire(self.mdev)
            claim.close()
            self.wait_gone(claim)
        self.assertEqual(self.c.device(self.mdev)['State'], 'free')
        self.assert_left_alone()

    def test_with_the_group_backend(self):
        claim = self.c.acquire(self.mdev, backend='group')
        self.assertEqual(set(claim.fds), {f'group:{self.mdev.group}', 'container', 'lifeline'})
        claim.close()
        self.wait_gone(claim)
        self.assert_left_alone()

    def test_a_node_of_its_user(self):
        for grant in ('node', 'none'):
            with self.refused('BackendUnavailable', self.mdev.name, 'Request the grant fd, or the backend group'):
                self.c.acquire(self.mdev, grant=grant)
        claim = self.c.acquire(self.mdev, grant='node', backend='group')
        fd = self.host.hold_node(f'/dev/vfio/{self.mdev.group}')
        claim.close()
        wait(lambda: claim.state == 'draining', 'it drains')
        os.close(fd)
        self.wait_gone(claim)
        self.assert_left_alone()

    def test_its_parent_is_not_free(self):
        claim = self.c.acquire(self.mdev)
        with self.refused('DeviceClaimed', self.gpu.name, self.mdev.name):
            self.c.acquire(self.gpu)
        claim.close()
        self.wait_gone(claim)
        with self.refused('HostCritical', self.gpu.name, self.mdev.name):
            self.c.acquire(self.gpu)

    def test_a_plan_says_who_isolates_it(self):
        plan = self.c.plan(self.mdev)
        self.assertEqual(plan['backend'], 'iommufd')
        self.assertIn(f'the driver mtty, and no IOMMU, isolates {self.mdev.name}', plan['exposes'])
        with self.refused('BackendUnavailable', 'mdev'):
            self.c.acquire(self.mdev, backend='noiommu')

    def test_a_program_has_bound_it_by_itself(self):
        fd = self.host.hold_node(self.node)
        self.kernel.set_enable(self.mdev, 1)
        with self.refused('GroupInUse', self.mdev.name):
            self.c.acquire(self.mdev)
        os.close(fd)
        self.kernel.set_enable(self.mdev, 0)
        self.c.acquire(self.mdev).close()

    def test_it_is_open_until_the_kernel_has_closed_it(self):
        # The kernel reports the close first, and lets its driver reset the device then.
        claim = self.c.acquire(self.mdev)
        busy = self.kernel.fail('open', error=errno.EBUSY, data=f'/dev/vfio/{self.mdev.group}', times=3)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(busy.hits, 3)
        self.assert_left_alone()

    def test_it_is_removed_while_it_is_claimed(self):
        claim = self.c.acquire(self.mdev)
        removal = self.host.remove_device(self.mdev)
        wait(lambda: claim.state == 'draining', 'the claim ends')
        claim.close()
        self.wait_gone(claim)
        removal.join(20)
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.mdev.name)), 'the removal is announced')
        with self.refused('NoSuchDevice'):
            self.c.acquire(self.mdev)
        again = self.host.add_mdev(UUID, parent=self.gpu)
        wait(lambda: self.c.find(again).get('VfioNode'), 'its node is there again')
        self.c.acquire(again).close()

    def test_one_that_no_driver_has_made_ready(self):
        other = self.host.add_mdev(UUID[:-1] + '2', driver=None)
        wait(lambda: self.c.seen('InterfacesAdded', device_path(other.name)), 'it is there')
        with self.refused('NodeMissing', other.name, 'create it again'):
            self.c.acquire(other)

    def test_it_outlives_the_daemon(self):
        claim = self.c.acquire(self.mdev)
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.assert_left_alone()

    def test_only_its_removal_ends_a_doubt(self):
        claim = self.c.acquire(self.mdev)
        self.daemon.kill()
        claim.close()
        self.start()  # the watch on its node is lost, and with it the lifeline
        self.manager.forget()
        wait(lambda: claim.state == 'draining', 'it drains')
        with self.refused('DeviceClaimed', self.mdev.name):
            self.client().acquire(self.mdev)
        wait(lambda: GLib.timeout_add(50, lambda: False) and self.log_lines(claim.id, 'cannot be found out any more'),
             'the operator is told')
        self.host.remove_device(self.mdev).join(20)
        self.wait_gone(claim)
        self.assertEqual(self.kernel.writes, [])


class OldPolicyTest(VfiodTestCase):
    def test_a_rule_for_all_devices_is_about_pci(self):
        mdev, nic = self.host.add_mdev(UUID), self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.set_policy([ALLOW_ANYTHING])
        self.start()
        claim = self.client().acquire(nic)
        self.assertTrue(claim.id)
        with self.refused('AccessDenied'):
            self.client().acquire(mdev)

    def test_a_mediated_device_is_no_iommu(self):
        self.host.add_mdev(UUID)
        self.start()
        self.assertFalse(self.client().properties(ROOT_PATH, 'Manager')['Kernel']['iommu'])


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input and a world that is not as it should be: a named error with the device, the reason and the remedy each,
and nothing half-done."""

import errno
import os

import dbus

import harness
from harness import ROOT_PATH, VfiodTestCase, wait
from host import VFIO


class BadRequestTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def tearDown(self):
        self.assert_untouched(self.before)
        self.assertEqual(self.kernel.writes, [])

    def test_unknown_device(self):
        for verb in (self.c.acquire, self.c.plan):
            with self.refused('NoSuchDevice', 'pci:0000:99:00.0'):
                verb('0000:99:00.0')
        with self.refused('NoSuchDevice', 'pci:0000:99:00.0'):
            self.c.manager('GetDevice', 's', '99:00.0')

    def test_malformed_names(self):
        for name in ('', 'nonsense', '0000:06:00', '0000:06:00.8', '0000:06:20.0', '0000:06:00.0 ', 'usb:1-1',
                     '../../etc', 'pci:', '0000:06:00.0/driver', '00000000000:06:00.0', 'ä' * 300, '%s%n', '\n'):
            with self.refused('InvalidName'):
                self.c.acquire(name)
            with self.refused('InvalidName'):
                self.c.manager('GetDevice', 's', name)

    def test_no_device_of_another_kind(self):
        for name in ('mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', 'vdpa:vdpa0', 'cdx:cdx-00:00'):
            for verb in (self.c.acquire, self.c.plan, lambda n: self.c.manager('GetDevice', 's', n)):
                with self.refused('NoSuchDevice', name):
                    verb(name)

    def test_a_good_and_a_bad_device(self):
        with self.refused('NoSuchDevice', '0000:99:00.0'):
            self.c.acquire(self.nic, '0000:99:00.0')

    def test_no_device_and_one_twice(self):
        with self.refused('InvalidArgument'):
            self.c.manager('Acquire', 'asa{sv}', [], {})
        with self.refused('InvalidArgument', self.nic.name):
            self.c.acquire('0000:06:00.0', 'pci_0000_06_00_0')

    def test_seventeen_devices(self):
        with self.refused('TooManyDevices', '14'):
            self.c.acquire(*[f'0000:{n:02x}:00.0' for n in range(17)])

    def test_unknown_option(self):
        with self.refused('UnknownOption', 'backedn', 'backend'):
            self.c.acquire(self.nic, backedn='group')
        with self.refused('UnknownOption', 'x'):
            self.c.manager('ReloadPolicy', 'a{sv}', {'x': True})

    def test_options_of_wrong_type_or_value(self):
        with self.refused('InvalidArgument', 'backend'):
            self.c.acquire(self.nic, backend=dbus.UInt32(3))
        with self.refused('InvalidArgument', 'backend', 'ioomufd'):
            self.c.acquire(self.nic, backend='ioomufd')
        with self.refused('InvalidArgument', 'reason'):
            self.c.acquire(self.nic, reason='x' * 5000)

    def test_wrong_signature(self):
        with self.refused('org.freedesktop.DBus.Error.InvalidArgs'):
            self.c.manager('Acquire', 's', self.nic.name)
        with self.refused('org.freedesktop.DBus.Error.UnknownMethod'):
            self.c.manager('Steal', 's', self.nic.name)

    def test_unknown_claims(self):
        for name in ('', 'nonsense', '0123456789abcdef', 'x' * 1000, '../x'):
            with self.assertRaises(dbus.DBusException) as caught:
                self.c.manager('Release', 'sa{sv}', name, {})
            self.assertEqual(caught.exception.get_dbus_name(), 'org.vfiod1.Error.NoSuchClaim', name)


class StateOfTheWorldTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)

    def begin(self):
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def test_already_claimed(self):
        self.begin()
        claim = self.c.acquire(self.nic)
        with self.refused('DeviceClaimed', self.nic.name, claim.id):
            self.client().acquire(self.nic)
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_group_that_another_program_holds(self):
        self.set_policy([self.rule(backend='group')])
        fd = self.host.hold_node('/dev/vfio/8')
        self.begin()
        with self.refused('GroupInUse', self.nic.name, '8'):
            self.c.acquire(self.nic)
        self.assert_untouched(self.before)
        os.close(fd)
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)

    def test_group_that_another_program_holds_without_a_device(self):
        # Nothing but an open of the group shows it, and the client's bind to the iommufd would fail.
        self.begin()
        for _ in range(2):  # the second time the daemon knows the group
            fd = self.host.hold_node('/dev/vfio/8')
            with self.refused('GroupInUse', self.nic.name, '/dev/vfio/8', str(os.getpid())):
                self.c.acquire(self.nic, backend='iommufd')
            self.assert_untouched(self.before)
            os.close(fd)
            claim = self.c.acquire(self.nic, backend='iommufd')
            claim.close()
            self.wait_gone(claim)

    def test_a_group_that_nobody_opened_since_is_not_tried_again(self):
        self.begin()
        opens = []
        self.kernel.before('open', lambda: opens.append(1), data='/dev/vfio/8', times=-1)
        for _ in range(3):
            claim = self.c.acquire(self.nic, backend='iommufd')
            claim.close()
            self.wait_gone(claim)
        self.assertEqual(len(opens), 1)
        os.close(self.host.hold_node('/dev/vfio/8'))
        claim = self.c.acquire(self.nic, backend='iommufd')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(len(opens), 2)

    def test_cdev_that_another_program_uses(self):
        fd = self.host.hold_node(self.host.cdev(self.nic))
        self.kernel.set_enable(self.nic, 1)
        self.begin()
        with self.refused('GroupInUse', self.nic.name):
            self.c.acquire(self.nic)
        self.assert_untouched(self.before)
        self.kernel.set_enable(self.nic, 0)
        os.close(fd)

    def test_node_missing_though_announced(self):
        os.unlink(self.host.root + self.host.cdev(self.nic))
        self.begin()
        with self.refused('NodeMissing', self.nic.name, '/dev/vfio/devices/vfio0'):
            self.c.acquire(self.nic, backend='iommufd')
        self.assert_untouched(self.before)

    def test_node_with_another_number(self):
        self.kernel.nodes.set_number(self.host.cdev(self.nic), 242, 77)
        self.begin()
        with self.refused('NodeMissing', self.nic.name):
            self.c.acquire(self.nic, backend='iommufd')
        self.assert_untouched(self.before)

    def test_node_that_cannot_be_opened(self):
        self.kernel.fail('open', data=self.host.cdev(self.nic), error=errno.EIO, times=1)
        self.kernel.fail('open', data=self.host.cdev(self.nic), error=errno.ENODEV, times=1)
        self.begin()
        for error in ('OpenFailed', 'DeviceGone'):
            with self.refused(error, self.nic.name):
                self.c.acquire(self.nic, backend='iommufd')
        self.assert_untouched(self.before)

    def test_node_that_our_unit_may_not_open(self):
        self.kernel.fail('open', data=self.host.cdev(self.nic), error=errno.EPERM, times=1)
        self.begin()
        with self.refused('OpenFailed', self.nic.name, 'DeviceAllow=', 'systemctl restart vfiod'):
            self.c.acquire(self.nic, backend='iommufd')
        self.assert_untouched(self.before)

    def test_iommufd_whose_option_is_refused(self):
        self.kernel.fail('ioctl', data='/dev/iommu', error=errno.EPERM)
        self.begin()
        with self.refused('OpenFailed'):
            self.c.acquire(self.nic, backend='iommufd')
        self.assert_untouched(self.before)

    def test_no_reset_method_with_reset_required(self):
        self.host.set_reset(self.nic, '')
        self.begin()
        with self.refused('ResetUnsupported', self.nic.name):
            self.c.acquire(self.nic)
        self.assert_untouched(self.before)

    def test_no_reset_method_with_reset_optional(self):
        self.host.set_reset(self.nic, '')
        self.set_policy([self.rule(reset='optional')])
        self.begin()
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.kernel.writes, [])

    def test_no_iommu_group(self):
        lone = self.host.add_device('0000:07:00.0', driver='e1000e')
        self.begin()
        with self.refused('NoIommuGroup', lone.name):
            self.c.acquire(lone)
        self.assert_untouched(self.before)

    def test_mounted_disk(self):
        disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme', class_code=0x010802)
        self.kernel.put(disk.path + '/block/vda/dev', '259:7\n')
        self.kernel.put(disk.path + '/block/vda/uevent', 'MAJOR=259\nMINOR=7\nDEVNAME=vda\n')
        self.kernel.link(disk.path + '/block/vda/subsystem', '/sys/class/block')
        self.kernel.link('/sys/class/block/vda', disk.path + '/block/vda')
        self.kernel.link('/sys/dev/block/259:7', disk.path + '/block/vda')
        self.kernel.put('/proc/self/mountinfo', '22 1 259:7 / / rw,relatime shared:1 - ext4 /dev/vda rw\n')
        self.begin()
        with self.refused('HostCritical', disk.name, 'root file system (vda)'):
            self.c.acquire(disk)
        self.assertIn('root file system', self.c.get(harness.device_path(disk.name), 'Device', 'HostCritical'))
        self.assert_untouched(self.before)


class PolicyTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()

    def state(self):
        p = self.c.properties(ROOT_PATH, 'Manager')
        return str(p['PolicyState']), list(p['PolicyErrors']), int(p['PolicyRules'])

    def test_no_policy_denies(self):
        os.unlink(f'{self.directory}/policy.d/50-test.json')
        self.start()
        self.c = self.client()
        self.assertEqual(self.state(), ('loaded', [], 0))
        with self.refused('AccessDenied', self.nic.name):
            self.c.acquire(self.nic)
        self.assert_untouched(self.before)

    def test_broken_from_the_start(self):
        path = self.set_policy([], '{\n  "rules": [ { "efect": "allow" } ]\n}\n')
        self.start()
        self.c = self.client()
        with self.refused('PolicyBroken'):
            self.c.acquire(self.nic)
        state, errors, rules = self.state()
        self.assertEqual((state, rules), ('broken', 0))
        self.assertIn(path + ':2:', errors[0])
        self.assertIn('effect', errors[0])
        self.assertEqual(self.c.device(self.nic)['State'], 'free')
        self.assert_untouched(self.before)

    @harness.needs_root
    def test_mended_and_reloaded(self):
        self.set_policy([], '{')
        self.start()
        self.c = self.client()
        self.assertEqual(self.state()[0], 'broken')
        self.set_policy([self.rule()])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(self.state(), ('loaded', [], 1))
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)

    @harness.needs_root
    def test_a_broken_reload_keeps_the_old_set(self):
        self.start()
        self.c = self.client()
        path = self.set_policy([], '{ "rules": [ 7 ] }')
        with self.refused('PolicyBroken', path):
            self.c.manager('ReloadPolicy', 'a{sv}', {})
        state, errors, rules = self.state()
        self.assertEqual((state, rules), ('stale', 1))
        self.assertTrue(errors)
        wait(lambda: self.c.seen('PropertiesChanged', ROOT_PATH, PolicyState='stale'), 'it is announced')
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)

    def test_a_file_that_others_may_write(self):
        os.chmod(self.set_policy([self.rule()]), 0o666)
        self.start()
        self.c = self.client()
        with self.refused('PolicyBroken'):
            self.c.acquire(self.nic)
        self.assertEqual(self.state()[0], 'broken')

    def test_an_unreadable_file(self):
        # Root reads everything, so the file is one that cannot be read by nature.
        os.mkdir(f'{self.directory}/policy.d/60-odd.json')
        self.start()
        self.c = self.client()
        with self.refused('PolicyBroken'):
            self.c.acquire(self.nic)
        self.assertIn('60-odd.json', self.state()[1][0])
        self.assert_untouched(self.before)


if __name__ == '__main__':
    harness.main()

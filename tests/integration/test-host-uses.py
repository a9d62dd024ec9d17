#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a device is used for, and what depends on it: such a device is refused, with a reason that names the use."""

import errno
import os

import harness
from harness import VfiodTestCase, device_path, wait
from host import VFIO


class UsesTestCase(VfiodTestCase):
    terms = {'siblings': 'park', 'reset': 'optional'}

    def setUp(self):
        super().setUp()
        self.set_policy([self.rule(**self.terms)])

    def begin(self):
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def host_critical(self, device):
        return str(self.c.get(device_path(device.name), 'Device', 'HostCritical'))

    def assert_refused(self, device, *words, error='HostCritical', **options):
        for verb in (self.c.plan, self.c.acquire):
            with self.refused(error, device.name, *words):
                verb(device, **options)
        self.assertEqual(self.host.binding(), self.before)

    def assert_granted(self, device):
        claim = self.c.acquire(device)
        claim.close()
        self.wait_gone(claim)


class VirtualFunctionsTest(UsesTestCase):
    terms = {'siblings': 'park', 'reset': 'optional', 'host-critical': 'allow'}

    def build(self, driver):
        self.pf = self.host.add_device('0000:3b:00.0', group=21, driver=driver, device=0x1592)
        self.vf = self.host.add_device('0000:3b:01.0', group=22, driver=VFIO, device=0x1889, physfn=self.pf)
        self.begin()

    def check_parent_of_a_claimed_function(self):
        claim = self.c.acquire(self.vf)
        self.assert_refused(self.pf, claim.id, self.vf.name, error='DeviceClaimed')
        claim.close()
        self.wait_gone(claim)
        self.assert_refused(self.pf, self.vf.name)
        self.assertEqual(self.pf.resets, 0)

    def test_parent_on_its_vfio_driver(self):
        self.build(VFIO)
        self.check_parent_of_a_claimed_function()

    def test_parent_on_its_own_driver(self):
        self.build('ice')
        self.check_parent_of_a_claimed_function()

    def test_functions_that_are_made_later(self):
        self.pf = self.host.add_device('0000:3b:00.0', group=21, driver=VFIO, device=0x1592)
        self.begin()
        claim = self.c.acquire(self.pf)
        self.vf = self.host.add_device('0000:3b:01.0', group=22, driver=VFIO, device=0x1889, physfn=self.pf)
        self.before = self.host.binding()
        wait(lambda: self.c.seen('InterfacesAdded', device_path(self.vf.name)), 'the new device')
        self.assert_refused(self.vf, claim.id, self.pf.name, error='DeviceClaimed')
        claim.close()
        self.wait_gone(claim)
        self.assert_granted(self.vf)


class DomainTest(UsesTestCase):
    def test_controller_of_a_domain(self):
        vmd = self.host.add_device('0000:00:0e.0', group=7, driver='vmd', class_code=0x010400)
        path = vmd.path + '/pci10000:e0/10000:e1:00.0'
        nvme = self.host.add_device('10000:e1:00.0', group=8, driver=VFIO, class_code=0x010802, path=path)
        self.begin()
        claim = self.c.acquire(nvme)
        self.assert_refused(vmd, claim.id, nvme.name, error='DeviceClaimed')
        claim.close()
        self.wait_gone(claim)
        self.assert_refused(vmd, nvme.name)


class MediatedDevicesTest(UsesTestCase):
    terms = {'siblings': 'park', 'reset': 'optional', 'host-critical': 'allow'}

    def test_parent(self):
        gpu = self.host.add_device('0000:2b:00.0', group=25, driver='nvidia', vendor=0x10de, class_code=0x030000)
        uuid = '00000000-0000-0000-0000-000000000101'
        self.kernel.put(f'{gpu.path}/mdev_supported_types/nvidia-47/available_instances', '1\n')
        self.begin()
        self.assertEqual(self.host_critical(gpu), '')
        self.kernel.link(f'{gpu.path}/{uuid}/subsystem', '/sys/bus/mdev')
        self.assertIn(uuid, self.host_critical(gpu))
        self.assert_refused(gpu, f'the mediated device {uuid}')  # no rule waives it


class DisksTest(UsesTestCase):
    def setUp(self):
        super().setUp()
        self.controller = self.host.add_device('0000:61:00.0', group=50, driver='nvme', class_code=0x010802)
        controller = self.controller.path + '/nvme/nvme1'
        self.kernel.put(controller + '/dev', '240:1\n')
        self.kernel.link(controller + '/subsystem', '/sys/class/nvme')
        self.disk = self.host.add_disk(controller + '/nvme1n1', '259:4')
        self.partition = self.host.add_disk(self.disk + '/nvme1n1p1', '259:5', partition=True)

    def test_unused(self):
        self.begin()
        self.assertEqual(self.host_critical(self.controller), '')
        self.assert_granted(self.controller)

    def test_mounted_above_others(self):
        root = self.host.add_virtual_disk('dm-1', '253:1')
        crypt = self.host.add_virtual_disk('dm-0', '253:0', holders=[root])
        self.kernel.link(self.partition + '/holders/dm-0', crypt)
        self.host.set_mounts('40 22 253:1 / /var rw - xfs /dev/mapper/vg-root rw')
        self.begin()
        self.assert_refused(self.controller, 'mounted at /var (dm-1', 'on nvme1n1p1')

    def test_users_by_name(self):
        self.kernel.put(self.host.add_virtual_disk('zram0', '252:0') + '/backing_dev', '/dev/nvme1n1p1\n')
        self.begin()
        self.assertEqual(self.host_critical(self.controller), 'backing device of zram (nvme1n1p1)')
        self.assert_refused(self.controller, 'backing device of zram (nvme1n1p1)')
        self.kernel.put('/sys/class/block/zram0/backing_dev', 'none\n')
        self.kernel.put(self.host.add_virtual_disk('loop0', '7:0') + '/loop/backing_file', '/dev/nvme1n1p1\n')
        self.assert_refused(self.controller, 'file of a loop device (nvme1n1p1)')

    def test_claimed_in_the_kernel(self):
        """Whatever has claimed the disk, the kernel says EBUSY to others."""
        self.begin()
        for name in ('nvme1n1', 'nvme1n1p1'):
            fault = self.kernel.fail('open', None, errno.EBUSY, data=f'/dev/{name}')
            self.assert_refused(self.controller, f'unknown use ({name} cannot be opened exclusively)')
            fault.left = 0
        self.assert_granted(self.controller)

    def test_disk_that_cannot_be_asked(self):
        self.kernel.fail('open', None, errno.EIO, data='/dev/nvme1n1')
        self.begin()
        self.assert_refused(self.controller, 'is unknown', 'Input/output error')

    def test_disk_whose_driver_was_loaded_after_the_unit_was_started(self):
        self.kernel.fail('open', None, errno.EPERM, data='/dev/nvme1n1')
        self.begin()
        self.assert_refused(self.controller, 'is unknown', 'DeviceAllow=', '/dev/nvme1n1', 'systemctl restart vfiod')

    def test_strangers_claim_no_disk(self):
        """To open a disk exclusively keeps others from mounting it: not for who may not have it."""
        self.set_policy([self.rule(user=12345)])
        fault = self.kernel.fail('open', None, errno.EBUSY, data='/dev/nvme1n1')
        self.begin()
        self.assertEqual(self.host_critical(self.controller), '')
        with self.refused('AccessDenied'):
            self.c.plan(self.controller)
        self.assertEqual(fault.hits, 0)

    def test_label_of_a_zfs_pool(self):
        uevent = self.kernel.get(self.partition + '/uevent')
        self.kernel.put(self.partition + '/uevent', uevent + 'ID_FS_TYPE=zfs_member\nID_FS_LABEL=tank\n')
        self.begin()
        self.assert_granted(self.controller)
        self.kernel.put('/proc/spl/kstat/zfs/tank/state', 'ONLINE\n')
        self.before = self.host.binding()
        self.assert_refused(self.controller, 'zfs pool tank')


class InterfacesTest(UsesTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:19:00.0', group=30, driver='ice', device=0x1593)

    def test_port_of_a_switch(self):
        """The host is reached through another port of the same switch, which nothing links to this one."""
        switch = self.host.add_virtual_interface('ovs-system')
        self.host.add_virtual_interface('br-ex')
        self.host.add_interface(self.nic.path + '/net/eno1', uppers=[switch])
        self.kernel.link(self.nic.path + '/net/eno1/master', switch)
        self.host.set_default_route('br-ex')
        self.begin()
        self.assertEqual(self.host_critical(self.nic), 'held by ovs-system (eno1)')
        self.assert_refused(self.nic, 'held by ovs-system (eno1)')

    def test_port_of_a_bridge(self):
        bridge = self.host.add_virtual_interface('br0')
        self.host.add_interface(self.nic.path + '/net/eno1', uppers=[bridge])
        self.host.set_default_route('br0')
        self.begin()
        self.assert_refused(self.nic, 'default route (br0, on eno1)')

    def test_interface_of_another_namespace(self):
        os.makedirs(f'{self.kernel.root}{self.nic.path}/net')
        self.begin()
        self.assert_refused(self.nic, 'another network namespace')


class DisplaysTest(UsesTestCase):
    def test_boot_display_that_is_no_vga(self):
        gpu = self.host.add_device('0000:c5:00.0', group=20, driver='amdgpu', vendor=0x1002, class_code=0x038000)
        self.kernel.link(gpu.path + '/drm/card1/subsystem', '/sys/class/drm')
        self.kernel.put(gpu.path + '/drm/card1/boot_display', '1\n')
        self.begin()
        self.assertIn('boot display', self.host_critical(gpu))
        self.assert_refused(gpu, 'boot display')


class KernelTest(UsesTestCase):
    """What the kernel would refuse, or cannot say."""

    def test_region_that_firmware_uses(self):
        msi = '0x00000000fee00000 0x00000000feefffff msi\n'
        for group, region, driver in ((34, 'direct', 'tg3'), (35, 'direct', VFIO), (36, 'direct-relaxable', 'tg3')):
            self.host.add_group(group, reserved=f'0x00000000bdf83000 0x00000000bdf84fff {region}\n{msi}')
            self.host.add_device(f'0000:04:00.{group - 34}', group=group, driver=driver)
        self.begin()
        for n in range(2):
            for options in ({}, {'backend': 'group'}):
                self.assert_refused(self.kernel.devices[f'0000:04:00.{n}'], 'direct', error='BackendUnavailable',
                                    **options)
        self.assert_granted(self.kernel.devices['0000:04:00.2'])

    def test_reset_without_methods(self):
        """Before 5.15 there is a reset, and no list of methods."""
        self.set_policy([self.rule()])
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e', reset='')
        self.kernel.unlink(nic.path + '/reset_method')
        self.begin()
        self.assert_refused(other, error='ResetUnsupported')
        self.assert_granted(nic)
        self.assertEqual(nic.resets, 1)


if __name__ == '__main__':
    harness.main()

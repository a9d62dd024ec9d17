#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a device is used for, and what depends on it: such a device is refused, with a reason that names the use."""

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


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a claim: nobody else gets a device, and nothing is done to it, while a file of it is open somewhere."""

import os

import harness
from harness import VfiodTestCase
from host import VFIO


class EnableTest(VfiodTestCase):
    """The kernel's count of users in the attribute `enable`."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()

    def test_a_count_that_a_former_driver_leaked(self):
        for backend in ('iommufd', 'group'):
            with self.subTest(backend=backend):
                self.set_policy([self.rule(backend=backend)])
                self.start()
                self.kernel.before('bind', lambda: self.kernel.set_enable(self.nic, 1), self.nic.address, driver=VFIO)
                claim = self.client().acquire(self.nic)
                self.kernel.before('unbind', lambda: self.kernel.set_enable(self.nic, 0), self.nic.address)
                claim.close()
                self.wait_gone(claim)
                self.assert_untouched(self.before)
                self.daemon.stop()

    def test_a_count_that_cannot_be_read(self):
        other = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        before = self.host.binding()
        self.start()
        c = self.client()
        claim, barrier = c.acquire(self.nic), c.acquire(other)
        enable = self.host.root + self.nic.path + '/enable'
        os.unlink(enable)
        os.mkdir(enable)
        claim.close()
        barrier.close()
        self.wait_gone(barrier)
        self.assertEqual((claim.state, self.nic.resets), ('draining', 0))
        os.rmdir(enable)
        self.kernel.set_enable(self.nic, 0)
        self.wait_gone(claim)
        self.assert_untouched(before)


if __name__ == '__main__':
    harness.main()

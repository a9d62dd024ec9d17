#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims that grow and shrink while they are held: the devices that stay are never touched, whatever goes wrong."""

import errno
import json
import os

import harness
from harness import NOBODY, VfiodTestCase, device_path, needs_root, wait
from host import VFIO


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
        self.assertEqual(result['backend'], 'iommufd')
        self.assertEqual(sorted(self.claim.fds), ['device:' + self.first.name, 'device:' + self.second.name,
                                                  'iommufd', 'lifeline'])
        self.assertEqual(os.fstat(self.claim.fds['device:' + self.second.name]).st_ino,
                         os.stat(self.kernel.nodes.real(self.host.cdev(self.second))).st_ino)
        self.assert_holds(self.first, self.second)
        self.assert_first_untouched()
        self.assertEqual(len(self.records()), 1)
        wait(lambda: self.c.seen('PropertiesChanged', self.claim.path), 'the change is announced')
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


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A driver of the host that registers its devices with VFIO by itself, as those of virtual GPUs do: the device is handed
out as it is, and the driver stays."""

import harness
from fake_kernel import NATIVE
from harness import VfiodTestCase, wait


class NativeTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver=NATIVE, class_code=0x030200)
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def assert_alone(self):
        """Nothing was written to the device."""
        self.assertEqual([w for w in self.kernel.writes if self.gpu.address in ''.join(w)], [])
        self.assertEqual((self.gpu.driver, self.gpu.override, self.gpu.resets), (NATIVE, None, 0))

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        self.assert_alone()

    def test_it_is_claimed_as_it_is(self):
        plan = self.c.plan(self.gpu)
        member, = plan['members']
        self.assertEqual((plan['backend'], member['native'], member['bind'], member['reset'], member['targetDriver']),
                         ('iommufd', True, False, False, NATIVE))
        claim = self.c.acquire(self.gpu)
        self.assertEqual(set(claim.fds), {'iommufd', f'device:{self.gpu.name}', 'lifeline'})
        self.end(claim)
        self.end(self.c.acquire(self.gpu))

    def test_through_its_group(self):
        claim = self.c.acquire(self.gpu, backend='group')
        self.assertEqual(set(claim.fds), {'container', 'group:8', 'lifeline'})
        self.end(claim)

    def test_a_reset_that_the_rule_requires_is_its_drivers(self):
        self.set_policy([self.rule(reset='required')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.end(self.c.acquire(self.gpu))

    def test_it_stays_open(self):
        """A copy of its file that outlives the client: nobody else gets the device until that is closed."""
        claim = self.c.acquire(self.gpu)
        claim.close('lifeline')
        wait(lambda: claim.state == 'draining', 'it drains')
        with self.refused('DeviceClaimed', self.gpu.name):
            self.c.acquire(self.gpu)
        self.end(claim)

    def test_after_a_crash(self):
        claim = self.c.acquire(self.gpu)
        self.daemon.kill()
        self.start(keep_fds=True)
        self.c = self.client()
        self.assertEqual(self.c.get(claim.path, 'Claim', 'State'), 'held')
        claim.close()
        wait(lambda: self.records() == [], 'the record goes')
        self.assert_untouched(self.before)
        self.assert_alone()

    def test_somebody_has_its_group_open(self):
        fd = self.host.hold_node('/dev/vfio/8')
        try:
            with self.refused('GroupInUse', self.gpu.name):
                self.c.acquire(self.gpu)
        finally:
            harness.os.close(fd)
        self.assert_alone()

    def test_what_it_cannot_do(self):
        self.set_policy([self.rule(grant=['fd', 'node'])])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('BackendUnavailable', self.gpu.name):
            self.c.acquire(self.gpu, grant='node', backend='iommufd')
        with self.refused('BackendUnavailable', self.gpu.name):
            self.c.acquire(self.gpu, backend='compat')
        self.assert_alone()

    def test_it_is_unplugged(self):
        claim = self.c.acquire(self.gpu)
        self.host.remove_device(self.gpu)
        wait(lambda: claim.state == 'draining', 'it drains')
        claim.close()
        self.wait_gone(claim)

    def test_a_sibling_of_its_own(self):
        """One of the group: it leaves the group viable and is in nobody's way."""
        other = self.host.add_device('0000:06:00.1', group=8, driver=NATIVE)
        wait(lambda: self.c.seen('InterfacesAdded', harness.device_path(other.name)), 'the daemon knows it')
        wait(lambda: self.c.device(other)['VfioNode'], 'and its node')
        self.before = self.host.binding()
        self.end(self.c.acquire(self.gpu))
        self.assertEqual(other.resets, 0)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims of devices on the platform bus: behind an IOMMU, and behind none."""

import errno

import harness
from fake_kernel import NOIOMMU_PARAMETER, VFIO_PLATFORM
from harness import VfiodTestCase, device_path, wait

NAME = 'fff51000.ethernet'


class PlatformTestCase(VfiodTestCase):
    group = 9
    options = {}

    def setUp(self):
        super().setUp()
        self.host.load_platform_driver()
        self.nic = self.host.add_other('platform', NAME, group=self.group, driver='xgmac')
        self.before = self.host.binding()
        self.allow()
        self.start()
        self.c = self.client()

    def allow(self, **keys):
        self.set_policy([self.rule(device='platform:*', **{'reset': 'optional', **keys})])

    def acquire(self, **options):
        return self.c.acquire(self.nic, **self.options, **options)

    def restart(self):
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()


class RestartTests:
    """Behind an IOMMU or not."""

    def test_a_restart(self):
        claim = self.acquire()
        self.restart()
        self.assertEqual(self.client().device(self.nic)['State'], 'claimed')
        claim.close()
        wait(lambda: self.host.binding() == self.before, 'it is given back')


class IsolatedTest(RestartTests, PlatformTestCase):
    def test_claim_and_release(self):
        for backend, fds in (('iommufd', {'iommufd', f'device:{self.nic.name}', 'lifeline'}),
                             ('group', {'container', 'group:9', 'lifeline'})):
            with self.subTest(backend=backend):
                claim = self.acquire(backend=backend)
                self.assertEqual(set(claim.fds), fds)
                self.assertEqual(self.host.attribute(self.nic, 'driver_override'), VFIO_PLATFORM + '\n')
                p = self.c.device(self.nic)
                self.assertEqual((p['State'], p['Driver']), ('claimed', VFIO_PLATFORM))
                claim.close()
                self.wait_gone(claim)
                self.assert_untouched(self.before)

    def test_it_is_open_until_its_last_file_is_closed(self):
        for backend in ('iommufd', 'group'):
            with self.subTest(backend=backend):
                claim = self.acquire(backend=backend)
                self.c.release(claim)
                wait(lambda: claim.state == 'draining', 'it drains')
                with self.refused('DeviceClaimed', self.nic.name):
                    self.acquire()
                self.assertEqual(self.nic.driver, VFIO_PLATFORM)
                claim.close()
                self.wait_gone(claim)
                self.assert_untouched(self.before)

    def test_a_reset_that_the_rule_demands(self):
        self.allow(reset='required')
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('ResetUnsupported', VFIO_PLATFORM):
            self.acquire()
        self.assert_untouched(self.before)

    def test_a_device_that_its_driver_does_not_take(self):
        # vfio-platform has no reset function for it, and reset_required is on.
        self.host.fail_binding(self.nic, errno.ENOENT, driver=VFIO_PLATFORM)
        with self.refused('BindFailed', self.nic.name, VFIO_PLATFORM):
            self.acquire()
        self.assert_untouched(self.before)

    def test_the_driver_is_not_loaded(self):
        self.kernel.remove_tree(f'/sys/bus/platform/drivers/{VFIO_PLATFORM}')
        with self.refused('BindFailed', self.nic.name, VFIO_PLATFORM):
            self.acquire()
        self.assert_untouched(self.before)

    def test_it_goes_while_it_is_claimed(self):
        claim = self.acquire()
        thread = self.host.remove_device(self.nic)
        wait(lambda: claim.state in ('draining', None), 'the claim ends')
        claim.close()
        self.wait_gone(claim)
        thread.join()
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.nic.name)), 'the removal is announced')


class NoiommuTest(RestartTests, PlatformTestCase):
    host_options = {'noiommu': False}
    group = None
    options = {'backend': 'noiommu'}

    def allow(self, **keys):
        self.set_policy([self.rule(device=self.nic.name, reset='optional', noiommu={
            'reason': 'a board without an IOMMU', 'waive-cap-sys-rawio': True}, **keys)], host={'noiommu': 'managed'})

    def test_claim_and_release(self):
        with self.refused('NoIommuGroup', self.nic.name):
            self.c.acquire(self.nic)
        claim = self.acquire()
        self.assertEqual(set(claim.fds), {f'device:{self.nic.name}', 'lifeline'})
        self.assertEqual(self.kernel.get(NOIOMMU_PARAMETER).strip(), 'Y')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        wait(lambda: self.kernel.get(NOIOMMU_PARAMETER).strip() == 'N', 'the switch is back')

    def test_it_is_open_until_its_last_file_is_closed(self):
        claim = self.acquire()
        self.c.release(claim)
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertEqual(self.nic.driver, VFIO_PLATFORM)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_only_its_removal_ends_a_doubt(self):
        claim = self.acquire()
        self.daemon.kill()
        self.start()  # the watch on its node is lost, and with it the lifeline
        self.manager.forget()
        wait(lambda: claim.state == 'draining', 'it drains')
        with self.refused('DeviceClaimed', self.nic.name):
            self.c = self.client()
            self.acquire()
        self.assertEqual(self.nic.driver, VFIO_PLATFORM)
        removal = self.host.remove_device(self.nic)
        claim.close()
        self.wait_gone(claim)
        removal.join(20)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The backend compat: a kernel whose /dev/vfio/vfio is an iommufd. There a device does not keep its group's file open, so
the daemon does, from the open until nobody has the device any more, over its own death as well.

The pretended kernel gives each device that is opened in this way a file of its own, see fake_kernel.compat_file()."""

import errno
import os
import select
import signal

import harness
from fake_kernel import VFIO_SET_IOMMU, compat_file
from harness import ROOT_PATH, VfiodTestCase, wait
from host import VFIO

VFIO_TYPE1V2_IOMMU = 3


class CompatTestCase(VfiodTestCase):
    host_options = {'iommufd': False, 'cdev': False}

    def setUp(self):
        super().setUp()
        self.kernel.iommufd_container = True
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.card = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()

    def is_group_held(self, group=8):
        """Then nobody else can open it."""
        return self.kernel.nodes.is_open(f'/dev/vfio/{group}')

    def is_device_open(self, device):
        return self.kernel.nodes.is_open(compat_file(device))

    def kept(self, claim):
        return self.manager.others.get(f'groups-{claim.id}', [])

    def wait_kept(self, claim, n=1):
        wait(lambda: len(self.kept(claim)) == n, "the groups' files are with the service manager")

    def wait_done(self, claim):
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        self.manager.hear_all()
        self.assertEqual(self.kept(claim), [])
        wait(lambda: not self.is_group_held(8) and not self.is_group_held(9), 'nobody has the groups')


class ClaimTest(CompatTestCase):
    def test_the_whole_life(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        self.assertEqual(claim.result['backend'], 'compat')
        self.assertEqual(sorted(claim.fds), ['container', f'device:{self.nic.name}', 'lifeline'])
        self.assertEqual((self.nic.driver, self.nic.enable), (VFIO, 1))
        self.assertIn(VFIO_TYPE1V2_IOMMU, [argument for path, request, argument, _ in self.kernel.ioctls
                                           if request == VFIO_SET_IOMMU and path == '/dev/vfio/vfio'])
        self.assertEqual(list(c.get(claim.path, 'Claim', 'Groups')), [f'{ROOT_PATH}/group/8'])
        self.assertTrue(self.is_group_held())
        self.wait_kept(claim)
        # Of the device and the container the daemon has no copy, of the group it has.
        wait(lambda: not [f for f in self.daemon.files() if 'compat' in f or f.endswith('/vfio/vfio')],
             'the daemon closes what it has handed out')
        self.assertTrue([f for f in self.daemon.files() if f.endswith('/dev/vfio/8')])

        claim.close()
        self.wait_done(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assertFalse([f for f in self.daemon.files() if '/dev/vfio' in f])

    def test_again_and_again(self):
        self.start()
        c = self.client()
        for _ in range(5):
            claim = c.acquire(self.card)
            claim.close()
            self.wait_done(claim)

    def test_the_last_close_is_in_a_worker(self):
        self.start()
        claim = self.client().acquire(self.nic)
        claim.close(f'device:{self.nic.name}', 'container')
        self.assertTrue(self.is_device_open(self.nic))
        self.assertEqual((claim.state, self.nic.enable, self.nic.resets), ('held', 1, 0))
        claim.close('lifeline')
        self.wait_done(claim)
        self.assertEqual(self.nic.resets, 1)

    def test_the_group_is_kept_until_the_device_is_closed(self):
        self.start()
        claim = self.client().acquire(self.nic)
        self.wait_kept(claim)
        claim.close('lifeline')
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.manager.hear_all()
        self.assertEqual(len(self.kept(claim)), 1)
        self.assertTrue(self.is_group_held())
        self.assertEqual((self.nic.driver, self.nic.resets), (VFIO, 0))
        with self.refused('DeviceClaimed'):
            self.client().acquire(self.nic)
        claim.close()
        self.wait_done(claim)

    def test_the_container_may_stay_with_the_client(self):
        """Its mappings lead to no device any more."""
        self.start()
        claim = self.client().acquire(self.nic)
        claim.close('lifeline', f'device:{self.nic.name}')
        self.wait_done(claim)
        self.client().acquire(self.nic).close()

    def test_several_groups(self):
        self.start()
        claim = self.client().acquire(self.nic, self.card)
        self.assertEqual(sorted(claim.fds), ['container', f'device:{self.nic.name}', f'device:{self.card.name}',
                                             'lifeline'])
        self.wait_kept(claim, 2)
        self.assertTrue(self.is_group_held(8) and self.is_group_held(9))
        claim.close('lifeline', f'device:{self.nic.name}')
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.assertTrue(self.is_group_held(8) and self.is_group_held(9))
        claim.close()
        self.wait_done(claim)

    def test_a_sibling_is_not_exposed(self):
        """The client does not get the group's file, so a rule for the one device is enough."""
        sibling = self.host.add_device('0000:06:00.1', group=8, driver=VFIO)
        self.before = self.host.binding()
        self.set_policy([self.rule(device=self.nic.address)])
        self.start()
        claim = self.client().acquire(self.nic)
        self.assertEqual((claim.result['backend'], sibling.enable), ('compat', 0))
        claim.close()
        self.wait_done(claim)

    def test_somebody_has_the_group(self):
        fd = self.host.hold_node('/dev/vfio/9')
        self.start()
        c = self.client()
        with self.refused('GroupInUse', '/dev/vfio/9'):
            c.acquire(self.nic, self.card)
        os.close(fd)
        self.assert_untouched(self.before)
        wait(lambda: not self.is_group_held(8), 'nobody has the other group')
        c.acquire(self.nic, self.card).close()

    def test_somebody_takes_the_group_at_the_end(self):
        """Between our close and the look: they have it, whatever they do with it, and nobody else gets it."""
        self.start()
        claim = self.client().acquire(self.nic)
        fault = self.kernel.fail('open', data='/dev/vfio/8', error=errno.EBUSY)
        claim.close()
        wait(lambda: fault.hits >= 2, 'the worker has looked')
        self.assertEqual((claim.state, self.nic.driver), ('draining', VFIO))
        self.kernel.heal()
        self.wait_done(claim)

    def test_an_open_that_fails(self):
        for path, error, name in (('/dev/vfio/8', errno.EPERM, 'OpenFailed'), ('/dev/vfio/vfio', errno.ENOMEM, 'OpenFailed'),
                                  ('/dev/vfio/.compat-0000:06:00.0', errno.EAGAIN, 'OpenFailed')):
            with self.subTest(path):
                self.start()
                c = self.client()
                c.get(ROOT_PATH, 'Manager', 'Kernel')  # what the container is has been found out
                self.kernel.fail('open', data=path, error=error)
                with self.refused(name):
                    c.acquire(self.nic)
                self.kernel.heal()
                self.assert_untouched(self.before)
                wait(lambda: not self.is_group_held(), 'nobody has the group')
                self.assertEqual(self.daemon.stop(), 0)
        self.daemon = None

    def test_a_kernel_that_does_not_come_back(self):
        gate = self.kernel.hold('ioctl', data='/dev/vfio/8')
        self.start('--worker-timeout=1')
        c = self.client()
        with self.refused('TimedOut'):
            c.acquire(self.nic)
        self.assertEqual(c.device(self.nic)['State'], 'quarantined')
        gate.let_go()

    def test_a_group_that_cannot_be_asked_about(self):
        """Whoever closed the device last is in a long reset, and the kernel keeps the worker that asks."""
        self.start()
        claim = self.client().acquire(self.nic)
        gate = self.kernel.hold('open', data='/dev/vfio/8')
        claim.close()
        wait(lambda: gate.entered, 'the worker asks')
        self.assertEqual((claim.state, self.nic.driver), ('draining', VFIO))
        wait(lambda: self.kept(claim) == [], 'the service manager has given them up')
        gate.let_go(errno.EBUSY)
        self.wait_done(claim)

    def test_moved_to_another_holder(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        self.wait_kept(claim)
        result, fds = self.client().manager('Transfer', 'sa{sv}', claim.id, {})
        fds = {str(name): fd.take() for name, fd in fds}
        claim.close('lifeline')
        self.assertEqual((list(fds), claim.state), (['lifeline'], 'held'))
        self.daemon.kill()
        self.start(keep_fds=True)
        self.assertEqual(claim.state, 'held')
        self.assertTrue(self.is_group_held())
        os.close(fds['lifeline'])
        self.manager.forget()
        wait(lambda: claim.state == 'draining', 'the claim drains')
        claim.close()
        self.wait_done(claim)

    def test_released_by_a_call(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, tether='process')
        self.assertEqual(sorted(claim.fds), ['container', f'device:{self.nic.name}'])
        c.release(claim)
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.assertTrue(self.is_group_held() and self.is_device_open(self.nic))
        claim.close()
        self.wait_done(claim)

    def test_pulled_out(self):
        """One of two: the claim ends with it."""
        self.start()
        spare = self.host.add_device('0000:0a:00.0', group=12, driver=VFIO)
        claim = self.client().acquire(self.nic, self.card)
        fault = self.kernel.fail('open', data='/dev/vfio/8')
        self.host.remove_device(self.nic)
        wait(lambda: claim.state == 'draining', 'the claim ends')
        # It is open still, so the groups are not given up, however often vfiod looks.
        for _ in range(3):
            other = self.client().acquire(spare)
            other.close()
            self.wait_gone(other)
        self.assertEqual((fault.hits, claim.state), (0, 'draining'))
        self.assertTrue(self.is_group_held(8) and self.is_group_held(9))
        self.kernel.heal()
        claim.close()
        self.wait_gone(claim)
        wait(lambda: not self.is_group_held(9), 'nobody has the group')
        self.client().acquire(self.card).close()

    def test_the_worker_with_the_copies_is_killed(self):
        self.start()
        claim = self.client().acquire(self.nic)
        self.wait_kept(claim)
        pid, = (p for p in self.daemon.children() if any('compat' in name for name in harness.files_of(p)))
        fd = os.pidfd_open(int(pid))
        os.kill(int(pid), signal.SIGKILL)
        wait(lambda: select.select([fd], [], [], 0)[0], 'the worker ends')
        os.close(fd)
        self.assertEqual(claim.state, 'held')
        self.assertTrue(self.is_group_held())
        claim.close()
        self.wait_done(claim)


class ChoiceTest(CompatTestCase):
    host_options = {}

    def test_only_where_it_is_asked_for(self):
        self.start()
        c = self.client()
        kernel = dict(c.get(ROOT_PATH, 'Manager', 'Kernel'))
        self.assertEqual((kernel['container'], kernel['compat'], kernel['iommufd']), (False, True, True))
        claim = c.acquire(self.nic)
        self.assertEqual(claim.result['backend'], 'iommufd')
        claim.close()
        self.wait_gone(claim)
        claim = c.acquire(self.nic, backend='compat')
        self.assertEqual(claim.result['backend'], 'compat')
        claim.close()
        self.wait_done(claim)

    def test_refused_before_anything_is_bound(self):
        self.start()
        c = self.client()
        for verb in (c.acquire, c.plan):
            with self.refused('BackendUnavailable', 'backend group', 'is an iommufd', 'Request the backend iommufd'):
                verb(self.nic, backend='group')
        self.assertEqual(self.kernel.writes, [])
        self.set_policy([self.rule(backend='group')])
        c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('BackendUnavailable', 'the rule does not allow the backend compat'):
            c.acquire(self.nic, backend='compat')
        with self.refused('BackendUnavailable', 'no backend that the kernel supports'):
            c.acquire(self.nic)
        self.assertEqual(self.kernel.writes, [])

    def test_not_with_a_container_of_vfio(self):
        self.kernel.iommufd_container = False
        self.start()
        c = self.client()
        with self.refused('BackendUnavailable', 'the container of VFIO itself'):
            c.acquire(self.nic, backend='compat')
        self.assertEqual(self.kernel.writes, [])
        kernel = dict(c.get(ROOT_PATH, 'Manager', 'Kernel'))
        self.assertEqual((kernel['container'], kernel['compat']), (True, False))

    def test_what_it_cannot_do(self):
        self.set_policy([self.rule(grant=['fd', 'node', 'none'])])
        self.start()
        c = self.client()
        for grant in ('node', 'none'):
            with self.refused('BackendUnavailable', 'the backend compat has no other grant than fd'):
                c.acquire(self.nic, backend='compat', grant=grant)
        claim = c.acquire(self.nic, backend='compat')
        with self.refused('InvalidArgument', 'takes no more devices', 'set up once', 'one claim for all'):
            c.add(claim, self.card)
        claim.close()
        self.wait_gone(claim)
        claim = c.acquire(self.nic, self.card, backend='compat')
        with self.refused('InvalidArgument', 'all of its devices or none', 'until the claim ends', 'still needed'):
            c.release_devices(claim, self.card)
        self.assertEqual((claim.state, len(c.get(claim.path, 'Claim', 'Devices'))), ('held', 2))
        c.release_devices(claim, self.nic, self.card)
        claim.close()
        self.wait_done(claim)


class RecoveryTest(CompatTestCase):
    def hold(self, *devices):
        self.start()
        claim = self.client().acquire(*devices or [self.nic])
        self.wait_kept(claim, len(devices or [self.nic]))
        wait(lambda: len(self.manager.fds) == 1, 'the lifeline is with the service manager')
        return claim

    def restart(self):
        self.start(keep_fds=True)
        self.manager.forget()

    def test_held_over_a_crash(self):
        claim = self.hold(self.nic, self.card)
        self.daemon.kill()
        # Nobody gets in between.
        self.assertTrue(self.is_group_held(8) and self.is_group_held(9))
        self.restart()
        self.assertEqual(claim.state, 'held')
        self.daemon.kill()
        self.assertTrue(self.is_group_held(8) and self.is_group_held(9))
        self.start(keep_fds=True)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_ended_while_there_was_no_daemon(self):
        claim = self.hold()
        self.daemon.kill()
        claim.close()
        self.assertTrue(self.is_group_held())
        self.restart()
        self.wait_done(claim)

    def test_draining_over_a_crash(self):
        claim = self.hold()
        claim.close('lifeline')
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.daemon.kill()
        self.restart()
        self.assertEqual(claim.state, 'draining')
        self.assertTrue(self.is_group_held())
        claim.close()
        self.wait_done(claim)

    def test_the_files_are_lost(self):
        """Somebody else may have had the device: the claim does not go on, and nobody gets it before it is closed."""
        claim = self.hold(self.nic, self.card)
        self.daemon.kill()
        self.manager.lose_others()
        self.start(keep_fds=True)
        wait(lambda: claim.state == 'draining', 'the claim has ended')
        self.assertEqual(self.nic.driver, VFIO)
        with self.refused('DeviceClaimed'):
            self.client().acquire(self.nic)
        claim.close()
        self.wait_done(claim)

    def test_killed_while_it_opens(self):
        for path in ('/dev/vfio/8', '/dev/vfio/vfio'):
            with self.subTest(path):
                self.start()
                c = self.client()
                c.get(ROOT_PATH, 'Manager', 'Kernel')
                gate = self.kernel.hold('ioctl', data=path)
                pending = c.acquire_later(self.nic)
                wait(lambda: gate.entered, 'it is being opened')
                self.daemon.kill()
                gate.let_go()
                wait(lambda: pending.done, 'the caller hears of it')
                self.restart()
                wait(lambda: self.host.binding() == self.before, 'the device is put back')
                self.assert_untouched(self.before)
                wait(lambda: not self.is_group_held(), 'nobody has the group')
                self.manager.hear_all()
                self.assertEqual(self.manager.others.keys() - {'node-watch'}, set())
                self.assertEqual(self.daemon.stop(), 0)
        self.daemon = None

    def test_files_of_no_claim(self):
        claim = self.hold()
        self.daemon.kill()
        self.unpack_slots()
        claim.close()
        os.unlink(f'{self.directory}/state/claims/{claim.id}.json')
        self.start(keep_fds=True)
        self.manager.hear_all()
        self.assertEqual(self.kept(claim), [])
        wait(lambda: not self.is_group_held(), 'nobody has the group')


class RoomTest(CompatTestCase):
    def test_each_file_counts_like_a_claim(self):
        """systemd has room for so many."""
        os.environ['FDSTORE'] = str(19 + 2 * 3)
        self.addCleanup(os.environ.pop, 'FDSTORE')
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        with self.refused('LimitExceeded', 'already 3 claims'):
            c.acquire(self.card)
        self.assertEqual(self.card.enable, 0)
        claim.close()
        self.wait_done(claim)
        c.acquire(self.card).close()


if __name__ == '__main__':
    harness.main()

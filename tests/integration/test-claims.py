#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job: a client gets its devices and gives them back, and everything is as it was."""

import json
import os
import socket
import stat
import subprocess


import harness
from fake_kernel import IOMMU_OPTION, VFIO_GROUP_GET_STATUS
from harness import NOBODY, ROOT_PATH, VfiodTestCase, device_path, needs_root, wait
from host import VFIO


class IommufdTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def test_claim_and_release_of_a_device_with_a_host_driver(self):
        claim = self.c.acquire(self.nic, reason='a test')
        self.assertEqual(set(claim.fds), {'iommufd', 'device:pci:0000:06:00.0', 'lifeline'})
        self.assertEqual(claim.result['backend'], 'iommufd')
        self.assertIn('test', claim.result['rule'])
        self.assertEqual(list(claim.result['devices']), ['pci:0000:06:00.0'])
        self.assertEqual(self.nic.driver, VFIO)
        self.assertEqual(self.host.attribute(self.nic, 'driver_override'), 'vfio-pci\n')
        self.assertIn(self.kernel.rlimit_modes, ([1], [1, 1], [1, 1, 1]))  # two may be ready for the next claims
        self.assertEqual(os.readlink(f'/proc/self/fd/{claim.fds["device:pci:0000:06:00.0"]}'),
                         self.host.root + self.host.cdev(self.nic))

        p = claim.properties()
        self.assertEqual((p['Id'], p['State'], p['Backend'], p['Uid'], p['Pid'], p['Reason'], p['Failure']),
                         (claim.id, 'held', 'iommufd', os.getuid(), os.getpid(), 'a test', ''))
        self.assertEqual(list(p['Devices']), [device_path(self.nic.name)])
        self.assertEqual(list(p['Groups']), [f'{ROOT_PATH}/group/8'])
        self.assertEqual(self.c.device(self.nic)['Claim'], claim.path)
        self.assertEqual(self.c.device(self.nic)['State'], 'claimed')
        self.assertEqual(self.c.get(f'{ROOT_PATH}/group/8', 'Group', 'Claim'), claim.path)
        wait(lambda: self.c.seen('InterfacesAdded', claim.path), 'the claim is announced')
        path = device_path(self.nic.name)
        wait(lambda: self.c.seen('PropertiesChanged', path, State='claimed'), 'its state is announced')
        wait(lambda: self.c.seen('PropertiesChanged', path, Claim=claim.path), 'its claim is announced')
        wait(lambda: self.c.seen('PropertiesChanged', f'{ROOT_PATH}/group/8', Claim=claim.path), 'its group has changed')
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.assertEqual(self.records(), [claim.id + '.json'])

        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        self.assertEqual(self.nic.resets, 1)
        self.assertEqual(self.c.device(self.nic)['State'], 'free')
        wait(lambda: self.c.seen('InterfacesRemoved', claim.path), 'the end is announced')
        wait(lambda: self.c.seen('PropertiesChanged', path, Driver='e1000e'), 'its driver')
        wait(lambda: self.c.seen('PropertiesChanged', path, State='free'), 'the device is free')
        wait(lambda: self.c.seen('PropertiesChanged', path, Claim='/'), 'and has no claim')
        wait(lambda: not self.manager.fds, 'the lifeline is taken back')

    def test_lifelines_for_claims_that_follow_each_other(self):
        def one_is_left_over():
            claim = self.c.acquire(self.disk)
            claim.close()
            self.wait_gone(claim)
            return len(self.manager.fds) > 1

        wait(one_is_left_over, 'the next claim and the one after it find a lifeline')
        for _ in range(8):
            one_is_left_over()
            self.assertLessEqual(len(self.manager.fds), 3)
        wait(lambda: not self.manager.fds, 'they go when nobody claims any more')

    def test_the_end_of_a_short_claim_is_announced(self):
        # Its end often comes before its beginning was told, and a client that found it by asking waits for the end.
        for _ in range(20):
            claim = self.c.acquire(self.disk)
            claim.close()
            wait(lambda: self.c.seen('InterfacesRemoved', claim.path), 'the end is announced')
            self.wait_gone(claim)

    def test_a_prepared_device_needs_no_write(self):
        claim = self.c.acquire(self.disk)
        self.assertEqual(self.kernel.writes, [])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual([path for path, _ in self.kernel.writes], [self.disk.path + '/reset'])
        self.assert_untouched(self.before)

    def test_release_by_method_waits_for_the_close(self):
        claim = self.c.acquire(self.nic)
        self.kernel.set_enable(self.nic, 1)  # the client uses it
        self.c.release(claim)
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertEqual([int(pid) for pid, _ in self.c.get(claim.path, 'Claim', 'Holders')], [os.getpid()])
        holders = self.c.get(claim.path, 'Claim', 'OpenFiles')
        self.assertEqual([(int(pid), str(command), list(map(str, files))) for pid, command, files in holders],
                         [(os.getpid(), open('/proc/self/comm').read().strip(), ['cdev'])])
        self.assertEqual(self.nic.resets, 0)
        self.assertEqual(self.c.device(self.nic)['State'], 'draining')
        with self.refused('DeviceClaimed', self.nic.name):
            self.c.acquire(self.nic)
        claim.close('lifeline', 'iommufd')
        self.assertEqual(claim.state, 'draining')
        self.kernel.set_enable(self.nic, 0)
        claim.close('device:pci:0000:06:00.0')
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_the_close_event_comes_before_the_device_is_closed(self):
        # In cdev mode the kernel announces the close first and resets and unbinds afterwards.
        claim = self.c.acquire(self.disk)
        self.kernel.set_enable(self.disk, 1)
        claim.close()
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertEqual(self.disk.resets, 0)
        self.kernel.set_enable(self.disk, 0)
        self.wait_gone(claim)
        self.assertEqual(self.disk.resets, 1)

    def test_a_dead_lifeline_is_not_a_closed_device(self):
        claim = self.c.acquire(self.disk)
        wait(lambda: self.c.seen('InterfacesAdded', claim.path), 'it is announced')
        claim.close('lifeline')
        wait(lambda: self.c.seen('PropertiesChanged', claim.path, State='draining'), 'it drains')
        self.assertEqual(claim.state, 'draining')
        claim.close()
        self.wait_gone(claim)

    def test_a_child_that_still_has_the_device(self):
        claim = self.c.acquire(self.disk)
        fd = claim.fds['device:pci:0000:07:00.0']
        child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, pass_fds=[fd])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.addCleanup(child.stdin.close)
        claim.close()
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertEqual([(int(p), str(c), list(map(str, f))) for p, c, f in self.c.get(claim.path, 'Claim', 'OpenFiles')],
                         [(child.pid, 'cat', ['cdev'])])
        child.kill()
        self.wait_gone(claim)
        self.assertEqual(self.disk.resets, 1)

    def test_a_device_that_is_on_its_way_in_a_socket(self):
        claim = self.c.acquire(self.disk)
        ends = socket.socketpair()
        socket.send_fds(ends[0], [b'x'], [claim.fds['device:pci:0000:07:00.0']])
        claim.close()
        wait(lambda: claim.state == 'draining', 'it drains')
        self.assertEqual(list(self.c.get(claim.path, 'Claim', 'Holders')), [])
        self.assertEqual(self.disk.resets, 0)
        for end in ends:
            end.close()
        self.wait_gone(claim)

    def test_a_copy_of_the_lifeline_keeps_the_claim(self):
        claim = self.c.acquire(self.disk)
        copy = os.dup(claim.fds['lifeline'])
        claim.close()
        self.assertEqual(claim.state, 'held')
        os.close(copy)
        self.wait_gone(claim)

    def test_a_reopened_device_still_counts(self):
        # The client opened the node anew through what it has; closing the first does not end the use.
        claim = self.c.acquire(self.disk)
        second = self.host.hold_node(self.host.cdev(self.disk))
        claim.close()
        wait(lambda: claim.state == 'draining', 'it drains')
        os.close(second)
        self.wait_gone(claim)

    def test_each_node_that_leaves_is_in_the_ledger(self):
        self.c.acquire(self.nic).close()
        self.assertEqual(self.kernel.ledger.n_given, 2)  # device and iommufd; what is wrong with them fails any test

    def test_two_devices_are_one_claim(self):
        claim = self.c.acquire(self.disk, self.nic)
        self.assertEqual(set(claim.fds), {'iommufd', 'device:pci:0000:06:00.0', 'device:pci:0000:07:00.0', 'lifeline'})
        self.assertEqual(list(claim.result['devices']), ['pci:0000:07:00.0', 'pci:0000:06:00.0'])
        self.assertIn(self.kernel.rlimit_modes, ([1], [1, 1], [1, 1, 1]))  # two may be ready for the next claims
        with self.refused('DeviceClaimed', self.nic.name):
            self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual((self.nic.resets, self.disk.resets), (1, 1))
        self.assert_untouched(self.before)

    def test_the_original_override_comes_back(self):
        odd = self.host.add_device('0000:0a:00.0', group=20, driver='my driver', override='my driver')
        wait(lambda: self.c.seen('InterfacesAdded', device_path(odd.name)), 'it is there')
        wait(lambda: self.c.device(odd)['Driver'] == 'my driver', 'with its driver')
        claim = self.c.acquire(odd)
        self.assertEqual(odd.driver, VFIO)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.host.attribute(odd, 'driver_override'), 'my driver\n')
        self.assertEqual(odd.driver, 'my driver')

    def test_a_device_without_driver_goes_back_to_none(self):
        bare = self.host.add_device('0000:0a:00.0', group=20, host_driver='e1000e')
        wait(lambda: self.c.seen('InterfacesAdded', device_path(bare.name)), 'it is there')
        claim = self.c.acquire(bare)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.host.binding()[bare.address], (None, '(null)\n'))

    def test_one_client_two_claims(self):
        first, second = self.c.acquire(self.nic), self.c.acquire(self.disk)
        self.assertNotEqual(first.id, second.id)
        first.close()
        self.wait_gone(first)
        self.assertEqual(second.state, 'held')
        second.close()
        self.wait_gone(second)

    def test_a_reason_is_only_text(self):
        claim = self.c.acquire(self.disk, reason='\x1b[31mred\n<0>Kernel panic%n')
        reason = claim.properties()['Reason']
        self.assertIn('red', reason)
        self.assertTrue(all(ch.isprintable() for ch in reason), repr(reason))
        claim.close()
        self.wait_gone(claim)
        self.log.seek(0)
        self.assertFalse([line for line in self.log if b'\x1b' in line or line.startswith(b'<0>')])

    def test_two_clients_race(self):
        other = self.client()
        answers = [self.c.acquire_later(self.nic), other.acquire_later(self.nic)]
        wait(lambda: all(a.done for a in answers), 'both are answered')
        won = [a for a in answers if a.error is None]
        lost = [a for a in answers if a.error is not None]
        self.assertEqual((len(won), len(lost)), (1, 1))
        self.assertEqual(lost[0].error.get_dbus_name(), 'org.vfiod1.Error.DeviceClaimed')
        won[0].value[0].close()
        self.wait_gone(won[0].value[0])
        self.assert_untouched(self.before)

    def test_plan_leaves_no_trace(self):
        plan = self.c.plan(self.nic)
        self.assertEqual(self.kernel.writes, [])
        # Once, whether the container is an iommufd was asked. That changes nothing and concerns no device.
        self.assertEqual([i for i in self.kernel.ioctls if i[:2] != ('/dev/vfio/vfio', IOMMU_OPTION)], [])
        self.assertEqual(self.kernel.rlimit_modes, [])
        self.assert_untouched(self.before)
        text = json.dumps(plan)
        for word in ('0000:06:00.0', 'iommufd', 'e1000e', VFIO):
            self.assertIn(word, text)
        self.assertEqual(self.c.properties(ROOT_PATH, 'Manager')['Claims'], 0)
        self.assertEqual([e for e in self.c.events if e[0] != 'PropertiesChanged'], [])

    def test_plan_fails_as_acquire_would(self):
        claim = self.c.acquire(self.disk)
        with self.refused('DeviceClaimed', self.disk.name, claim.id):
            self.c.plan(self.disk)
        claim.close()
        self.wait_gone(claim)

    def test_the_claim_object_releases_itself(self):
        claim = self.c.acquire(self.disk)
        claim.close('device:pci:0000:07:00.0', 'iommufd')
        self.c.call(claim.path, 'org.vfiod1.Claim', 'Release', 'a{sv}', {})
        self.wait_gone(claim)
        claim.close()
        with self.refused('NoSuchClaim'):
            self.c.release(claim)

    def test_the_daemon_keeps_no_copy(self):
        claim = self.c.acquire(self.disk)
        self.assertEqual(claim.state, 'held')  # by then it is done with the reply
        # Two iommufds are opened for the next claims. Neither is the one that was handed out.
        wait(lambda: len(self.kernel.rlimit_modes) == 3, 'the next two are opened')
        nodes = [t for t in self.daemon.files() if '/dev/' in t and not t.startswith('/dev/')]
        self.assertEqual([t.rsplit('/', 1)[1] for t in nodes], ['iommu', 'iommu'])
        claim.close()
        self.wait_gone(claim)


class UsersTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()
        self.start()

    @needs_root
    def test_another_user_is_denied_and_told_why(self):
        status, output = self.busctl('call', 'org.vfiod1', ROOT_PATH, 'org.vfiod1.Manager', 'Acquire', 'asa{sv}',
                                     '1', self.nic.name, '0', user=NOBODY)
        self.assertNotEqual(status, 0)
        self.assertIn(str(NOBODY), output)
        self.assertIn('pci:0000:06:00.0', output)
        self.assert_untouched(self.before)

    @needs_root
    def test_a_rule_for_a_user_and_a_denial_with_its_rule(self):
        path = self.set_policy([self.rule('no-nic', 'deny', user=NOBODY, device='0000:06:*'),
                                self.rule('rest', user=NOBODY)])
        self.client().manager('ReloadPolicy', 'a{sv}', {})
        status, output = self.busctl('call', 'org.vfiod1', ROOT_PATH, 'org.vfiod1.Manager', 'Acquire', 'asa{sv}',
                                     '1', self.nic.name, '0', user=NOBODY)
        self.assertNotEqual(status, 0)
        for word in ('no-nic', path + ':'):
            self.assertIn(word, output)

    @needs_root
    def test_a_claim_belongs_to_its_owner(self):
        claim = (c := self.client()).acquire(self.nic)
        status, output = self.busctl('call', 'org.vfiod1', ROOT_PATH, 'org.vfiod1.Manager', 'Release', 'sa{sv}',
                                     claim.id, '0', user=NOBODY)
        self.assertNotEqual(status, 0)
        self.assertEqual(claim.state, 'held')
        status, output = self.busctl('get-property', 'org.vfiod1', claim.path, 'org.vfiod1.Claim', 'Rule',
                                     user=NOBODY)
        self.assertEqual((status, output.strip()), (0, 's ""'))
        claim.close()
        self.wait_gone(claim)

    @needs_root
    def test_the_policy_is_reloaded_by_root_only(self):
        status, output = self.busctl('call', 'org.vfiod1', ROOT_PATH, 'org.vfiod1.Manager', 'ReloadPolicy', 'a{sv}',
                                     '0', user=NOBODY)
        self.assertNotEqual(status, 0)
        self.assertIn('only root can reload the policy. Do it as root. No rule can allow it.', output)


class BackendTest(VfiodTestCase):
    """Both are there; rule and client choose."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)

    def test_iommufd_first_group_when_asked(self):
        self.start()
        c = self.client()
        for backend in ('iommufd', 'group'):
            claim = c.acquire(self.nic, backend=backend)
            self.assertEqual(claim.result['backend'], backend)
            self.assertEqual('container' in claim.fds, backend == 'group')
            claim.close()
            self.wait_gone(claim)

    def test_a_rule_narrows(self):
        self.set_policy([self.rule(backend=['group'])])
        self.start()
        c = self.client()
        with self.refused('BackendUnavailable', 'iommufd', 'rule'):
            c.acquire(self.nic, backend='iommufd')
        claim = c.acquire(self.nic)
        self.assertEqual(claim.result['backend'], 'group')
        claim.close()
        self.wait_gone(claim)


class LargeTest(VfiodTestCase):
    """A message of the bus carries 16 fds."""

    def test_fourteen_devices_and_no_more(self):
        devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver='e1000e') for n in range(15)]
        before = self.host.binding()
        self.start()
        c = self.client()
        for backend in ('iommufd', 'group'):
            claim = c.acquire(*devices[:14], backend=backend)
            self.assertEqual(len(claim.fds), 16)
            self.assertEqual(len(set(os.fstat(fd).st_ino for fd in claim.fds.values())), 16)
            claim.close()
            self.wait_gone(claim)
            self.assert_untouched(before)
        with self.refused('TooManyDevices', '14'):
            c.acquire(*devices)


class GroupBackendTest(VfiodTestCase):
    """A kernel like Debian's own: no iommufd, no cdev."""
    host_options = {'iommufd': False, 'cdev': False}

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def test_claim_and_release(self):
        claim = self.c.acquire(self.nic)
        self.assertEqual(set(claim.fds), {'container', 'group:8', 'lifeline'})
        self.assertEqual(claim.result['backend'], 'group')
        self.assertEqual(self.c.device(self.nic)['VfioNode'], '')
        self.assertEqual(self.c.get(f'{ROOT_PATH}/group/8', 'Group', 'VfioNode'), '/dev/vfio/8')
        self.assertTrue(stat.S_ISREG(os.fstat(claim.fds['group:8']).st_mode))
        claim.close('lifeline', 'container')
        wait(lambda: claim.state == 'draining', 'it drains')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_the_client_chooses_the_kind_of_iommu(self):
        self.kernel.iommu_types = {2, 7}  # as on POWER: VFIO_SPAPR_TCE_IOMMU, VFIO_SPAPR_TCE_v2_IOMMU
        claim = self.c.acquire(self.nic)
        self.assertEqual(claim.result['backend'], 'group')
        self.assertEqual(set(claim.fds), {'container', 'group:8', 'lifeline'})
        # Whatever vfiod did to container or group here, the client could not choose any more.
        self.assertEqual({(path, request) for path, request, _, _ in self.kernel.ioctls},
                         {('/dev/vfio/vfio', IOMMU_OPTION), ('/dev/vfio/8', VFIO_GROUP_GET_STATUS)})
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_iommufd_is_not_there(self):
        with self.refused('BackendUnavailable', 'iommufd'):
            self.c.acquire(self.nic, backend='iommufd')
        self.assert_untouched(self.before)

    def test_two_functions_share_one_group_fd(self):
        second = self.host.add_device('0000:06:00.1', group=8, driver='e1000e')
        wait(lambda: self.c.seen('InterfacesAdded', device_path(second.name)), 'it is there')
        wait(lambda: self.c.device(second)['Driver'] == 'e1000e', 'with its driver')
        claim = self.c.acquire(self.nic, second)
        self.assertEqual(set(claim.fds), {'container', 'group:8', 'lifeline'})
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(second.driver, 'e1000e')


class NoCdevTest(VfiodTestCase):
    """IOMMUFD without VFIO_DEVICE_CDEV: /dev/iommu is there, nodes of devices never come."""
    host_options = {'cdev': False}

    def test_the_group_it_is(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()
        c = self.client()
        for options in ({}, {'backend': 'group'}):
            claim = c.acquire(nic, **options)
            self.assertEqual(set(claim.fds), {'container', 'group:8', 'lifeline'})
            claim.close()
            self.wait_gone(claim)
        with self.refused('BackendUnavailable', nic.name, 'iommufd'):
            c.acquire(nic, backend='iommufd')


class NoGroupTest(VfiodTestCase):
    """Neither VFIO_GROUP nor VFIO_CONTAINER: iommufd is all there is."""
    host_options = {'group': False, 'container': False}

    def test_iommufd_it_is(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()
        c = self.client()
        claim = c.acquire(nic)
        self.assertEqual(set(claim.fds), {'iommufd', 'device:pci:0000:06:00.0', 'lifeline'})
        self.assertEqual(c.get(f'{ROOT_PATH}/group/8', 'Group', 'VfioNode'), '')
        claim.close()
        self.wait_gone(claim)
        with self.refused('BackendUnavailable', nic.name, 'group'):
            c.acquire(nic, backend='group')


class NothingTest(VfiodTestCase):
    host_options = {'iommufd': False, 'container': False}

    def test_no_backend_at_all(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        before = self.host.binding()
        self.start()
        with self.refused('BackendUnavailable', nic.name):
            self.client().acquire(nic)
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(before)


class SiblingsTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        h = self.host
        self.bridge = h.add_device('0000:00:1e.0', group=8, driver='pcieport', class_code=0x060400, reset='')
        self.edu = h.add_device('0000:06:00.0', group=8, parent=self.bridge, class_code=0x00FF00)
        self.nic = h.add_device('0000:06:01.0', group=8, parent=self.bridge, driver='e1000e')
        self.before = h.binding()

    def test_a_sibling_with_a_host_driver_refuses(self):
        self.start()
        with self.refused('GroupNotViable', self.edu.name, self.nic.name, 'e1000e'):
            self.client().acquire(self.edu)
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(self.before)

    def test_a_deny_rule_keeps_a_sibling_from_being_parked(self):
        nic = self.host.add_device('0000:0a:00.0', group=12, driver=VFIO)
        disk = self.host.add_device('0000:0a:00.1', group=12, driver='nvme', class_code=0x010802)
        never = {'name': 'never-storage', 'effect': 'deny', 'who': {}, 'what': {'class': 'storage'}}
        rest = {'name': 'rest', 'effect': 'deny', 'who': {}, 'what': {}}
        self.set_policy([never, self.rule(siblings='park'), rest])
        self.start()
        c = self.client()
        for verb in (c.plan, c.acquire):
            with self.refused('AccessDenied', disk.name, 'never-storage'):
                verb(nic)
        self.assertEqual(disk.driver, 'nvme')
        # A rule that names no device is the default in other words.
        self.set_policy([self.rule(device=nic.address, siblings='park'), rest])
        c.manager('ReloadPolicy', 'a{sv}', {})
        claim = c.acquire(nic)
        self.assertEqual(disk.driver, VFIO)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(disk.driver, 'nvme')

    def test_parked_and_put_back(self):
        self.set_policy([self.rule(siblings='park')])
        self.start()
        c = self.client()
        claim = c.acquire(self.edu)
        self.assertEqual(set(claim.fds), {'iommufd', 'device:pci:0000:06:00.0', 'lifeline'})
        self.assertEqual((self.nic.driver, self.nic.override), (VFIO, VFIO))
        self.assertEqual(self.bridge.driver, 'pcieport')
        with self.refused('DeviceClaimed', self.nic.name):
            c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_claiming_all_members_needs_no_parking(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.edu, self.nic)
        self.assertEqual(len(claim.fds), 4)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_bridge_is_not_handed_out(self):
        self.start()
        with self.refused('InvalidArgument', self.bridge.name, 'bridge'):
            self.client().acquire(self.bridge)
        self.assert_untouched(self.before)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mediated devices that drivers can make: which types there are, and how many more of each."""

import errno
import json
import os
import signal
import unittest

import dbus

import harness
from harness import NOBODY, ROOT_PATH, device_path, needs_root, wait
from varlink_client import VarlinkTestCase

UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
MTTY = 'mtty'


class MediatedTestCase(VarlinkTestCase):
    """A GPU whose driver makes mediated devices, and mtty, which is on no bus."""

    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver='i915', class_code=0x030000)
        self.gpu_parent = self.host.add_mdev_parent(self.gpu, ports=2, **{'i915-GVTg_V5_4': 1})
        self.mtty = self.host.add_mdev_parent()

    def begin(self):
        self.start()
        self.c = self.client()

    def types(self):
        """{(parent, type): (available, devices)}"""
        return {(p, t): (n, [str(d) for d in devices])
                for p, t, _, _, n, devices in self.c.get(ROOT_PATH, 'Manager', 'MediatedTypes')}


class TypesTest(MediatedTestCase):
    def test_what_there_can_be(self):
        self.begin()
        self.assertEqual(self.types(), {('0000:06:00.0', 'i915-GVTg_V5_4'): (2, []), (MTTY, 'mtty-1'): (4, []),
                                        (MTTY, 'mtty-2'): (2, [])})
        one = self.host.add_mdev(UUID)
        self.assertEqual(self.types()[(MTTY, 'mtty-1')], (2, []))
        self.assertEqual(self.types()[(MTTY, 'mtty-2')], (1, [device_path(one.name)]))

    def test_both_faces_and_vfioctl_show_the_same(self):
        self.begin()
        one = self.host.add_mdev(UUID, type='mtty-1')
        reply = self.peer().call('List', {'host': True, 'fields': ['mediatedTypes']})
        listed = reply['host']['mediatedTypes']
        self.assertEqual(listed[1], {'parent': MTTY, 'type': 'mtty-1', 'name': 'Dual port serial 1',
                                     'deviceApi': 'vfio-pci', 'available': 3, 'devices': [one.name]})
        status, text = self.vfioctl('--json', 'types')
        self.assertEqual((status, json.loads(text)), (0, listed))
        status, text = self.vfioctl('--json', 'types', self.gpu.name)
        self.assertEqual([t['parent'] for t in json.loads(text)], ['0000:06:00.0'])
        status, text = self.vfioctl('types', MTTY)
        self.assertEqual(status, 0)
        self.assertRegex(text, rf'(?m)^mtty +mtty-1 +3 +vfio-pci +Dual port serial 1 +{one.name}$')
        self.assertNotIn('i915', text)
        status, text = self.vfioctl('types', MTTY, 'mty')
        self.assertEqual(status, 1)
        self.assertIn('mty: no driver makes mediated devices of it', text)

    def test_the_status_of_a_parent_shows_them(self):
        self.begin()
        status, text = self.vfioctl('status', self.gpu.name)
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r'Can make: i915-GVTg_V5_4 \(Dual port serial 1\), 2 left')
        shown, = json.loads(self.vfioctl('--json', 'status', self.gpu.name)[1])
        self.assertEqual([t['available'] for t in shown['mediatedTypes']], [2])
        self.host.remove_mdev_parent(self.gpu_parent).join(20)
        self.assertNotIn('Can make', self.vfioctl('status', self.gpu.name)[1])

    def test_a_host_without_any(self):
        self.host.remove_mdev_parent(self.mtty).join(20)
        self.host.remove_mdev_parent(self.gpu_parent).join(20)
        self.begin()
        self.assertEqual(self.types(), {})
        self.assertEqual(self.vfioctl('types'), (0, 'No driver of this host makes mediated devices.\n'))

    @unittest.skipIf('ASAN_OPTIONS' in os.environ, 'so many files take longer than a worker may')
    def test_more_types_than_are_listed(self):
        for n in range(4096):
            os.makedirs(f'{self.kernel.root}{self.mtty.path}/mdev_supported_types/x-{n}')
        self.begin()
        self.assertEqual(len(self.types()), 4096)

    def test_long_names(self):
        """64 KiB of text in all: what is more is left out, and a template of it is unknown instead of missing."""
        for n in range(900):
            self.kernel.put(f'{self.mtty.path}/mdev_supported_types/{"x" * 58}-{n:03}/name', 'y' * 250 + '\n')
        self.set_policy([self.rule(device='template:*')],
                        host={'templates': [{'name': 'left-out', 'parent': MTTY, 'type': 'z'}]})
        self.begin()
        listed = self.c.get(ROOT_PATH, 'Manager', 'MediatedTypes')
        text = sum(len(p) + len(t) + len(name) + len(api) for p, t, name, api, _, _ in listed)
        self.assertTrue(60 << 10 < text <= 64 << 10, text)
        with self.refused('NoInstance', 'more types than are listed'):
            self.c.acquire('template:left-out')

    def test_many_devices(self):
        """The names of all together are bounded, too."""
        self.mtty.ports = 4000
        devices = f'{self.mtty.path}/mdev_supported_types/mtty-{{}}/devices/00000000-0000-4000-8000-{{:012}}'
        for n in range(2000):
            os.makedirs(self.kernel.root + devices.format(1 + n % 2, n))
        self.begin()
        n = {t: len(devices) for (_, t), (_, devices) in self.types().items()}
        self.assertEqual(n['mtty-1'] + n['mtty-2'], (64 << 10) // len('mdev:' + UUID))
        self.assertEqual(n['i915-GVTg_V5_4'], 0)

    def test_it_costs_a_look_so_it_has_to_be_asked_for(self):
        self.begin()
        self.assertNotIn('MediatedTypes', self.c.properties(ROOT_PATH, 'Manager'))
        host = self.peer().call('List', {'host': True})['host']
        self.assertNotIn('mediatedTypes', host)

    def test_what_a_driver_says_is_not_believed(self):
        directory = f'{self.mtty.path}/mdev_supported_types/'
        for text in ('-1\n', '99999999999999\n', 'many\n', ''):
            with self.subTest(available=text):
                self.kernel.put(directory + 'mtty-1/available_instances', text)
                if not self.daemon:
                    self.begin()
                self.assertEqual(self.types()[(MTTY, 'mtty-1')], (-1, []))
        self.kernel.put(directory + 'mtty-1/name', 'evil\x1b[2J\n')
        self.kernel.put(directory + 'no type/available_instances', '1\n')
        self.kernel.put(directory + 'x' * 80 + '/available_instances', '1\n')
        self.kernel.put(f'/sys/class/mdev_bus/{"y" * 80}/mdev_supported_types/t/available_instances', '1\n')
        self.assertEqual(set(self.types()), {('0000:06:00.0', 'i915-GVTg_V5_4'), (MTTY, 'mtty-1'), (MTTY, 'mtty-2')})
        self.assertEqual(self.vfioctl('types')[1].count('\x1b'), 0)



class TemplateTestCase(MediatedTestCase):
    TEMPLATE = 'template:serial'
    TEMPLATES = [{'name': 'serial', 'parent': MTTY, 'type': 'mtty-2'},
                 {'name': 'vgpu', 'parent': '0000:*', 'type': 'i915-GVTg_V5_4'},
                 {'name': 'nothing', 'parent': '0000:0*', 'type': 'nvidia-474'}]

    def setUp(self):
        super().setUp()
        self.allow()

    def allow(self, *rules, **more):
        self.set_policy([*rules, self.rule(device=['template:*', 'mdev:*', '*'], grant=['fd', 'node', 'none'], **more)],
                        host={'templates': self.TEMPLATES})

    def made(self):
        return [d for d in self.kernel.devices.values() if d.bus == 'mdev']

    def written(self, attribute):
        return [text for path, text in self.kernel.writes if os.path.basename(path) == attribute]

    def wait_removed(self):
        """The device, and the record."""
        wait(lambda: not self.made(), 'it is removed')
        wait(lambda: self.records() == [], 'the record goes')


class TemplateTest(TemplateTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.begin()

    def test_made_for_a_claim_and_removed_at_its_end(self):
        claim = self.c.acquire(self.TEMPLATE)
        device, = self.made()
        self.assertEqual((device.mdev_type, set(claim.fds)), ('mtty-2', {'device:' + device.name, 'iommufd', 'lifeline'}))
        self.assertEqual(os.readlink(f'/proc/self/fd/{claim.fds["device:" + device.name]}'),
                         self.kernel.nodes.real(self.host.cdev(device)))
        self.assertEqual(self.c.device(device)['State'], 'claimed')
        self.assertEqual(self.types()[MTTY, 'mtty-2'], (1, [device_path(device.name)]))
        self.assertEqual([str(d) for d in self.c.get(claim.path, 'Claim', 'Devices')], [device_path(device.name)])
        self.assertEqual([str(g) for g in self.c.get(claim.path, 'Claim', 'Groups')],
                         [f'{ROOT_PATH}/group/{device.group}'])
        with self.refused('DeviceClaimed', device.name):
            self.client().acquire(device)
        claim.close()
        self.wait_gone(claim)
        self.wait_removed()
        self.assertEqual(self.types()[MTTY, 'mtty-2'], (2, []))
        self.assertEqual((len(self.written('create')), self.written('remove')), (1, ['1']))

    def test_each_claim_has_one_of_its_own(self):
        one, two = self.c.acquire(self.TEMPLATE), self.c.acquire(self.TEMPLATE)
        self.assertEqual(len({d.name for d in self.made()}), 2)
        with self.refused('NoInstance', self.TEMPLATE, 'mtty-2', '2 in use', one.id, two.id, f'uid {os.getuid()}'):
            self.c.acquire(self.TEMPLATE)
        one.close()
        self.wait_gone(one)
        self.c.acquire(self.TEMPLATE).close()
        two.close()
        self.wait_removed()

    def test_through_its_group(self):
        claim = self.c.acquire(self.TEMPLATE, backend='group')
        device, = self.made()
        self.assertEqual(set(claim.fds), {f'group:{device.group}', 'container', 'lifeline'})
        claim.close()
        self.wait_removed()
        with self.refused('BackendUnavailable', 'Request the grant fd, or the backend group'):
            self.c.acquire(self.TEMPLATE, grant='node')
        claim = self.c.acquire(self.TEMPLATE, grant='node', backend='group')
        claim.close()
        self.wait_removed()

    def test_together_with_a_device(self):
        claim = self.c.acquire(self.nic, self.TEMPLATE)
        self.assertEqual(self.nic.driver, 'vfio-pci')
        claim.close()
        self.wait_removed()
        self.assertEqual(self.nic.driver, 'e1000e')

    def test_joins_and_leaves_a_claim(self):
        claim = self.c.acquire(self.nic)
        self.c.add(claim, self.TEMPLATE)
        device, = self.made()
        self.assertEqual(len(self.c.get(claim.path, 'Claim', 'Devices')), 2)
        os.close(claim.fds.pop('device:' + device.name))
        self.c.manager('ReleaseDevices', 'sasa{sv}', claim.id, [device.name], {})
        wait(lambda: not self.made(), 'it is removed')
        claim.close()
        self.wait_gone(claim)

    def test_the_plan_says_what_would_be_made(self):
        plan = self.c.plan('template:vgpu')
        member, = plan['members']
        self.assertEqual((member['name'], member['parent'], member['mediatedType'], member['group']),
                         ('template:vgpu', '0000:06:00.0', 'i915-GVTg_V5_4', -1))
        self.assertIn('i915-GVTg_V5_4', plan['exposes'])
        status, text = self.vfioctl('plan', 'template:vgpu')
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r'template:vgpu +- +create, hand out')
        self.assertRegex(text, r'Creates: +i915-GVTg_V5_4 of 0000:06:00.0')
        self.assertEqual(self.made(), [])
        status, text = self.vfioctl('policy', 'explain', 'template:vgpu')
        self.assertEqual(status, 0, text)
        self.assertIn('template:vgpu', text)

    def test_vfioctl_exec(self):
        status, text = self.vfioctl('exec', '--device', self.TEMPLATE, '--', 'sh', '-c', 'echo $LISTEN_FDNAMES')
        self.assertEqual(status, 0, text)
        self.assertRegex(text, 'device_mdev_[0-9a-f]')
        self.wait_removed()
        self.assertEqual(len(self.written('create')), 1)

    def test_over_varlink(self):
        peer = self.peer()
        reply, fds = peer.acquire(self.TEMPLATE)
        device, = self.made()
        self.assertEqual(set(fds), {'device:' + device.name, 'iommufd', 'lifeline'})
        self.assertEqual(peer.call('List', {'claim': reply['claim']})['claim']['devices'], [device.name])
        for fd in fds.values():
            os.close(fd)
        self.wait_removed()

    def test_a_parent_that_is_claimed_makes_nothing(self):
        self.host.remove_mdev_parent(self.mtty).join(20)
        claim = self.c.acquire(self.gpu)
        with self.refused('DeviceClaimed', self.gpu.name, claim.id):
            self.c.acquire('template:vgpu')
        self.assertEqual(self.written('create'), [])
        claim.close()
        self.wait_gone(claim)

    def test_a_parent_is_not_given_away_meanwhile(self):
        gate = self.kernel.hold('create')
        pending = self.c.acquire_later('template:vgpu')
        wait(lambda: gate.entered, 'it is being made')
        with self.refused('DeviceClaimed', self.gpu.name, 'a mediated device of it'):
            self.client().acquire(self.gpu)
        gate.let_go()
        wait(lambda: pending.done, 'the answer')
        device, = self.made()
        with self.refused('DeviceClaimed', self.gpu.name, device.name):
            self.client().acquire(self.gpu)
        pending.value[0].close()
        self.wait_removed()
        claim = self.c.acquire(self.gpu)
        claim.close()
        self.wait_gone(claim)

    def test_what_cannot_be_had(self):
        for name, error, *words in (
                ('template:nothing', 'NoSuchDevice', 'nvidia-474', 'template:nothing'),
                ('template:unknown', 'NoSuchDevice', 'the policy has no template'),
                ('template:', 'InvalidName', 'a template is named'),
                ('template:a/b', 'InvalidName'), ('template:' + 'a' * 39, 'InvalidName'), ('template:*', 'InvalidName')):
            with self.subTest(name), self.refused(error, *words):
                self.c.acquire(name)
        with self.refused('InvalidArgument', 'twice'):
            self.c.acquire(self.TEMPLATE, self.TEMPLATE)
        with self.refused('BackendUnavailable', 'template'):
            self.c.acquire(self.TEMPLATE, backend='noiommu')
        with self.refused('RequirementNotMet'):
            self.c.acquire(self.TEMPLATE, require='pasid')
        self.assertEqual(self.written('create'), [])

    def test_a_template_that_is_undefined_needs_no_rule(self):
        self.set_policy([self.rule(user=NOBODY)])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied', 'The policy has no template of this name. Add it to "templates"') as caught:
            self.c.plan('template:unknown')
        self.assertNotIn('"effect"', str(caught.exception))

    def test_somebody_else_takes_the_last_one(self):
        self.kernel.before('create', lambda: [self.host.add_mdev(UUID[:-1] + str(n)) for n in range(2)])
        with self.refused('NoInstance', 'mtty-2'):
            self.c.acquire(self.TEMPLATE)
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(len(self.made()), 2)
        with self.refused('NoInstance', 'mdev:' + UUID[:-1] + '0'):
            self.c.acquire(self.TEMPLATE)

    def test_claims_are_named_before_the_devices_of_others(self):
        self.mtty.ports = 20
        self.kernel.count_mdevs(self.mtty)
        for n in range(9):
            self.host.add_mdev(f'00000000-0000-4000-8000-00000000000{n}')
        claim = self.c.acquire(self.TEMPLATE)
        with self.refused('NoInstance', '10 in use: mdev:', f'(claim {claim.id} of uid {os.getuid()}), mdev:00000000-',
                          'and 6 more'):
            self.c.acquire(self.TEMPLATE)
        claim.close()
        self.wait_gone(claim)

    def test_a_driver_that_fails(self):
        self.kernel.fail('create', error=errno.EIO, times=1)
        with self.refused('BindFailed', 'mtty-2', 'create'):
            self.c.acquire(self.TEMPLATE)
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.written('remove'), [])
        self.c.acquire(self.TEMPLATE).close()
        self.wait_removed()

    def test_a_uuid_that_is_there_already_is_not_ours(self):
        self.kernel.fail('create', error=errno.EEXIST, times=1)
        with self.refused('BindFailed', 'File exists'):
            self.c.acquire(self.TEMPLATE)
        self.assertEqual(self.written('remove'), [])

    def test_a_device_that_cannot_be_removed_is_quarantined(self):
        claim = self.c.acquire(self.TEMPLATE)
        device, = self.made()
        self.kernel.fail('remove', error=errno.EIO)
        claim.close()
        wait(lambda: self.c.device(device)['State'] == 'quarantined', 'it is quarantined')
        with self.refused('DeviceQuarantined', device.name):
            self.c.acquire(device)
        self.kernel.heal()
        self.c.release(claim)
        self.wait_removed()

    def test_a_retry_where_it_had_no_driver_of_vfio(self):
        """Its vfio driver was never seen, but how to remove it is known."""
        self.mtty.make = lambda uuid, type: self.host.add_mdev(uuid, None, type, driver=None)
        self.kernel.fail('remove', error=errno.EIO)
        with self.refused('NodeMissing', 'has not registered it with VFIO'):
            self.c.acquire(self.TEMPLATE)
        device, = self.made()
        wait(lambda: self.c.device(device)['State'] == 'quarantined', 'it is quarantined')
        self.kernel.heal()
        self.c.manager('RetryQuarantine', 'asa{sv}', [device.name], {})
        self.wait_removed()

    def test_a_parent_that_goes_while_it_is_held(self):
        claim = self.c.acquire(self.TEMPLATE)
        going = self.host.remove_mdev_parent(self.mtty)
        wait(lambda: claim.state == 'draining', 'the claim ends')
        claim.close()
        self.wait_gone(claim)
        going.join(20)
        self.wait_removed()
        with self.refused('NoSuchDevice', 'mtty-2'):
            self.c.acquire(self.TEMPLATE)

    def test_the_caller_goes_while_it_is_made(self):
        gate = self.kernel.hold('create')
        other = self.client()
        other.acquire_later(self.TEMPLATE)
        wait(lambda: gate.entered, 'it is being made')
        other.close()
        gate.let_go()
        wait(lambda: self.written('remove'), 'it is removed')
        self.wait_removed()


class ReserveTest(TemplateTestCase):
    """A ticket for a device that is made when it is redeemed."""

    def setUp(self):
        super().setUp()
        self.begin()

    def reserve(self, name=None, client=None, **options):
        """The path of the claim, its id, and the ticket."""
        path, ticket, result = (client or self.c).manager('Reserve', 'sa{sv}', name or self.TEMPLATE, options)
        self.assertEqual(str(result['device']), name or self.TEMPLATE)
        return str(path), str(path).rsplit('/', 1)[1], str(ticket)

    def state_of(self, path):
        return str(self.c.get(path, 'Claim', 'State'))

    def test_made_when_it_is_redeemed(self):
        path, claim_id, ticket = self.reserve()
        self.assertEqual((self.state_of(path), self.made(), self.written('create')), ('reserved', [], []))
        plan = self.c.plan(ticket=ticket)
        self.assertEqual([m['name'] for m in plan['members']], [self.TEMPLATE])
        claim = self.c.acquire(ticket=ticket)
        device, = self.made()
        self.assertEqual((claim.id, device.mdev_type), (claim_id, 'mtty-2'))
        self.assertEqual(set(claim.fds), {'device:' + device.name, 'iommufd', 'lifeline'})
        with self.refused('TicketInvalid', 'redeemed'):
            self.c.acquire(ticket=ticket)
        claim.close()
        self.wait_gone(claim)
        self.wait_removed()
        self.wait_logged(claim_id, 'reserved', self.TEMPLATE)

    def test_the_last_instance_is_kept(self):
        path, claim_id, ticket = self.reserve()
        claim = self.c.acquire(self.TEMPLATE)
        with self.refused('NoInstance', 'mtty-2', '1 in use', claim.id, '1 reserved', claim_id, f'uid {os.getuid()}'):
            self.c.acquire(self.TEMPLATE)
        with self.refused('NoInstance', claim_id):
            self.reserve()
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.types()[MTTY, 'mtty-2'][0] == 2, 'it is removed')
        claim = self.c.acquire(self.TEMPLATE)
        redeemed = self.c.acquire(ticket=ticket)  # the one that was kept
        self.assertEqual(len(self.made()), 2)
        for c in (claim, redeemed):
            c.close()
            self.wait_gone(c)
        self.wait_removed()

    def test_as_many_as_there_can_be(self):
        tickets = [self.reserve() for _ in range(2)]
        with self.refused('NoInstance', '2 reserved', 'and others'):
            self.reserve()
        self.c.manager('Release', 'sa{sv}', tickets[0][1], {})
        self.reserve()
        self.assertEqual(self.written('create'), [])

    def test_an_instance_that_is_being_made_is_not_reserved(self):
        self.host.add_mdev(UUID)
        gate = self.kernel.hold('create')
        pending = self.c.acquire_later(self.TEMPLATE)
        wait(lambda: gate.entered, 'it is being made')
        with self.refused('NoInstance', '1 reserved or being made'):
            self.reserve()
        gate.let_go()
        wait(lambda: pending.done, 'the answer')
        claim = pending.value[0]
        claim.close()
        self.wait_gone(claim)

    def test_the_parent_is_kept(self):
        path, claim_id, ticket = self.reserve('template:vgpu')
        with self.refused('DeviceClaimed', self.gpu.name, claim_id):
            self.c.acquire(self.gpu)
        self.c.manager('Release', 'sa{sv}', claim_id, {})
        wait(lambda: path not in self.c.objects(), 'the reservation is over')
        with self.refused('TicketInvalid'):
            self.c.acquire(ticket=ticket)
        claim = self.c.acquire(self.gpu)
        claim.close()
        self.wait_gone(claim)

    def test_nothing_is_left_when_it_is_redeemed(self):
        """Another program was faster: the ticket stays."""
        path, claim_id, ticket = self.reserve()
        others = [self.host.add_mdev(UUID[:-1] + str(n)) for n in range(2)]
        with self.refused('NoInstance', '2 in use', others[0].name):
            self.c.acquire(ticket=ticket)
        self.assertEqual(self.state_of(path), 'reserved')
        self.kernel.remove(others[0])
        wait(lambda: self.types()[MTTY, 'mtty-2'][0] == 1, 'there is one again')
        claim = self.c.acquire(ticket=ticket)
        claim.close()
        self.wait_gone(claim)

    def test_the_parent_goes(self):
        path, claim_id, ticket = self.reserve()
        self.host.remove_mdev_parent(self.mtty).join(20)
        with self.refused('NoSuchDevice', 'mtty-2'):
            self.c.acquire(ticket=ticket)
        self.assertEqual(self.state_of(path), 'reserved')
        self.mtty = self.host.add_mdev_parent()
        claim = self.c.acquire(ticket=ticket)
        claim.close()
        self.wait_gone(claim)

    def test_what_cannot_be_reserved(self):
        for name, error, *words in (
                ('template:nothing', 'NoSuchDevice', 'nvidia-474'), ('template:unknown', 'NoSuchDevice', 'no template'),
                ('template:', 'InvalidName'), ('template:a/b', 'InvalidName'), ('template:*', 'InvalidName', 'pattern'),
                ('template:s[e]rial', 'InvalidName')):
            with self.subTest(name), self.refused(error, *words):
                self.reserve(name)
        self.set_policy([self.rule()], host={'templates': self.TEMPLATES})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied', 'no rule'):
            self.reserve()
        self.assertEqual(self.records(), [])

    @needs_root
    def test_a_stranger(self):
        path, claim_id, ticket = self.reserve()
        with harness.identity(NOBODY):
            nobody = self.client()
        with self.refused('TicketInvalid', 'is for uid 0'):
            nobody.acquire(ticket=ticket)
        with self.refused('AccessDenied'):
            self.reserve(client=nobody)
        self.assertEqual((self.state_of(path), self.written('create')), ('reserved', []))

    def test_it_survives_a_crash(self):
        tickets = [self.reserve(ttl=dbus.UInt64(600)) for _ in range(2)]
        for end in ('kill', 'stop'):
            getattr(self.daemon, end)()
            self.start(keep_fds=True)
            self.manager.forget()
            self.assertEqual([self.state_of(path) for path, _, _ in tickets], ['reserved', 'reserved'])
            with self.refused('NoInstance', '2 reserved'):
                self.c.acquire(self.TEMPLATE)
        claim = self.c.acquire(ticket=tickets[1][2])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.state_of(tickets[0][0]), 'reserved')

    def test_killed_while_it_is_redeemed(self):
        path, claim_id, ticket = self.reserve()
        gate = self.kernel.hold('create')
        answer = self.c.acquire_later(ticket=ticket)
        wait(lambda: gate.entered, 'it is about to be made')
        self.daemon.process.send_signal(signal.SIGSTOP)
        gate.let_go()
        wait(self.made, 'it is made')
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        self.start(keep_fds=True)
        self.wait_removed()
        with self.refused('TicketInvalid'):
            self.c.acquire(ticket=ticket)

    def test_both_faces_and_vfioctl(self):
        status, ticket = self.vfioctl('reserve', self.TEMPLATE)
        self.assertEqual(status, 0, ticket)
        ticket = ticket.split()[-1]
        peer = self.peer()
        reply, fds = peer.acquire(ticket=ticket)
        self.assertEqual(len(self.made()), 1)
        for fd in fds.values():
            os.close(fd)
        self.wait_removed()
        reply = peer.call('Reserve', {'device': self.TEMPLATE})
        self.assertEqual(reply['device'], self.TEMPLATE)
        shown = peer.call('List', {'claim': reply['claim']})['claim']
        self.assertEqual((shown['state'], shown['devices']), ('reserved', [self.TEMPLATE]))
        status, text = self.vfioctl('status', reply['claim'])
        self.assertEqual(status, 0, text)
        self.assertIn(self.TEMPLATE, text)
        status, text = self.vfioctl('exec', '--ticket', reply['ticket'], '--', 'sh', '-c', 'echo $LISTEN_FDNAMES')
        self.assertEqual(status, 0, text)
        self.assertRegex(text, 'device_mdev_[0-9a-f]')
        self.wait_removed()


class SilentTest(TemplateTestCase):
    """A driver that does not answer: its types are unknown, those of the others are not."""

    def setUp(self):
        super().setUp()
        path = f'{self.gpu.path}/mdev_supported_types/i915-GVTg_V5_4/available_instances'
        self.kernel.unlink(path)
        os.mkfifo(self.kernel.root + path)  # nobody writes it: an open of it sleeps
        self.start('--worker-timeout=1')
        self.c = self.client()

    def test_the_others_are_known(self):
        for _ in range(3):  # it is asked once
            self.assertEqual(self.types(), {(MTTY, 'mtty-1'): (4, []), (MTTY, 'mtty-2'): (2, [])})
        self.assertEqual(len(self.log_lines('0000:06:00.0: its driver does not report')), 1)

    def test_templates(self):
        claim = self.c.acquire(self.TEMPLATE)
        for template, error, words in (('template:vgpu', 'TimedOut', ['does not answer']),
                                       ('template:nothing', 'TimedOut', ['does not answer'])):
            with self.refused(error, template, *words):
                self.c.acquire(template)
        claim.close()
        self.wait_removed()


class RulesTest(TemplateTestCase):
    def denied(self, *words):
        with self.refused('AccessDenied', *words):
            self.c.acquire(self.TEMPLATE)
        self.assertEqual(self.written('create'), [])

    def test_only_a_rule_that_names_it_allows_it(self):
        rules = [self.rule(device=['mdev:*', '*'], backend='iommufd'), {**self.rule(), 'what': {}},
                 {**self.rule(), 'what': {'bus': 'mdev'}}, self.rule(device='template:vgpu')]
        for rule in rules:
            with self.subTest(rule):
                self.set_policy([rule], host={'templates': self.TEMPLATES})
                if not self.daemon:
                    self.begin()
                self.c.manager('ReloadPolicy', 'a{sv}', {})
                self.denied('no rule')

    def test_a_denial_without_a_device_is_about_templates_too(self):
        self.allow({'name': 'nobody', 'effect': 'deny', 'who': {'user': os.getuid()}, 'what': {}})
        self.begin()
        self.denied()

    def test_limits_count_it(self):
        self.allow(limits={'devices': 1})
        self.begin()
        claim = self.c.acquire(self.TEMPLATE)
        with self.refused('LimitExceeded'):
            self.c.acquire('template:vgpu')
        claim.close()
        self.wait_removed()

    def test_what_the_driver_calls_it(self):
        self.TEMPLATES = [{'name': 'serial', 'parent': 'm*', 'type': 'Dual port serial 1'}]
        self.allow()
        self.begin()
        claim = self.c.acquire(self.TEMPLATE)
        self.assertEqual(self.made()[0].mdev_type, 'mtty-1')
        claim.close()
        self.wait_removed()

    def test_a_policy_that_no_longer_allows_it(self):
        self.begin()
        claim = self.c.acquire(self.TEMPLATE)
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(self.c.get(ROOT_PATH, 'Manager', 'ClaimsDeniedByPolicy'), [])
        self.set_policy([self.rule()], host={'templates': self.TEMPLATES})
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(self.c.get(ROOT_PATH, 'Manager', 'ClaimsDeniedByPolicy'), [claim.path])
        claim.close()
        self.wait_removed()


class CrashTest(TemplateTestCase):
    """vfiod is killed in the middle: what it has made goes, and nothing else."""

    def setUp(self):
        super().setUp()
        self.foreign = self.host.add_mdev(UUID, type='mtty-1')
        self.begin()

    def restart(self):
        self.start(keep_fds=True)
        self.manager.forget()

    def ours(self):
        return [d for d in self.made() if d is not self.foreign]

    def assert_over(self):
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.made(), [self.foreign])
        self.assertEqual(self.types()[MTTY, 'mtty-2'][0], 1)

    def test_on_record_and_not_made(self):
        gate = self.kernel.hold('create')
        self.c.acquire_later(self.TEMPLATE)
        wait(lambda: gate.entered, 'it is about to be made')
        self.assertNotEqual(self.records(), [])
        gate.let_go(effect=False)
        self.daemon.kill()
        self.restart()
        self.assert_over()
        self.assertEqual(self.written('remove'), [])

    def test_made_and_not_known_to_be(self):
        gate = self.kernel.hold('create')
        self.c.acquire_later(self.TEMPLATE)
        wait(lambda: gate.entered, 'it is about to be made')
        self.daemon.process.send_signal(signal.SIGSTOP)  # hears no answer
        gate.let_go()
        wait(self.ours, 'it is made')
        self.daemon.kill()
        self.restart()
        self.assert_over()
        self.assertEqual(self.written('remove'), ['1'])

    def test_made_after_the_death(self):
        """The kernel goes on with what a dead worker has asked for."""
        gate = self.kernel.hold('create')
        self.c.acquire_later(self.TEMPLATE)
        wait(lambda: gate.entered, 'it is about to be made')
        end = self.kernel.hold('mdev_type')
        gate.let_go()
        wait(lambda: end.entered, 'it is there, and not complete')
        self.daemon.kill(settle=False)
        self.restart()
        self.assertEqual(self.written('remove'), [])
        end.let_go()
        self.assert_over()

    def test_bound_and_not_given(self):
        gate = self.kernel.hold('open')
        self.c.acquire_later(self.TEMPLATE, backend='group')
        wait(lambda: gate.entered, 'its group is being opened')
        self.daemon.process.send_signal(signal.SIGSTOP)
        gate.let_go()
        self.daemon.kill()
        self.restart()
        self.assert_over()

    def test_held(self):
        claim = self.c.acquire(self.TEMPLATE)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        device, = self.ours()
        self.daemon.kill()
        self.restart()
        self.assertEqual(claim.state, 'held')
        self.assertEqual(self.c.device(device)['State'], 'claimed')
        claim.close()
        self.wait_gone(claim)
        self.assert_over()

    def test_the_client_ends_meanwhile(self):
        claim = self.c.acquire(self.TEMPLATE)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.daemon.kill()
        claim.close()
        self.restart()
        self.assert_over()

    def test_in_the_middle_of_the_removal(self):
        for effect in (False, True):
            with self.subTest(removed=effect):
                claim = self.c.acquire(self.TEMPLATE)
                gate = self.kernel.hold('remove')
                claim.close()
                wait(lambda: gate.entered, 'it is being removed')
                self.daemon.process.send_signal(signal.SIGSTOP)
                gate.let_go(effect=effect)
                if effect:
                    wait(lambda: not self.ours(), 'it is removed')
                self.daemon.kill()
                self.restart()
                self.assert_over()


if __name__ == '__main__':
    harness.main()

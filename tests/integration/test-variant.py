#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The vfio driver of a device: the most specific one of the kernel, whose module systemd loads."""

import json
import os
import pathlib

import harness
import kernel_modules
from harness import wait
from host import ACS_ISOLATES, ROOT_PORT, VFIO
from mock_systemd import MockSystemd
from varlink_client import VarlinkError, VarlinkTestCase

ANY = 'v*d*sv*sd*bc*sc*i*'
MLX5 = 'v000015B3d0000101Esv*sd*bc*sc*i*'
UNIT = 'modprobe@mlx5_vfio_pci.service'


class VariantTest(VarlinkTestCase):
    MODULES = {'vfio_pci': [ANY], 'mlx5_vfio_pci': [MLX5]}
    MODPROBE = ''
    OPTIONS = ()

    def setUp(self):
        super().setUp()
        kernel_modules.install(self.host.root, self.MODULES, self.MODPROBE)
        physical = self.host.add_device('0000:06:00.0', group=7, driver='mlx5_core', vendor=0x15B3, device=0x101D)
        self.nic = self.host.add_device('0000:06:00.2', group=8, driver='mlx5_core', vendor=0x15B3, device=0x101E,
                                        physfn=physical)
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.before = self.host.binding()
        self.systemd = MockSystemd(self.bus.address)
        self.addCleanup(self.systemd.close)
        self.set_policy([self.rule()])
        self.start(*self.OPTIONS)
        self.c = self.client()

    def plan(self, device, **options):
        return json.loads(self.c.manager('Plan', 'asa{sv}', [device.name], options))

    def planned(self, device):
        plan = self.plan(device)
        return plan['members'][0]['targetDriver'], plan['members'][0].get('module', ''), plan['drivers']

    def load(self, module='mlx5_vfio_pci', driver='mlx5_vfio_pci'):
        """What modprobe does."""
        self.host.kernel.add_driver(driver)
        os.makedirs(f'{self.host.root}/sys/module/{module}/drivers/pci:{driver}')


    def result(self, pending):
        wait(lambda: pending.done, 'there is an answer')
        if pending.error:
            raise pending.error
        return pending.value[0]


class MostSpecificTest(VariantTest):
    MODULES = {**VariantTest.MODULES, 'other_vfio_pci': ['v000015B3d*sv*sd*bc*sc*i*'], 'any_vfio_pci': [ANY]}

    def test_plan(self):
        self.assertEqual(self.planned(self.nic), (
            'mlx5_vfio_pci', 'mlx5_vfio_pci',
            f'{self.nic.name}: mlx5_vfio_pci: the most specific vfio driver of this kernel for it (live migration)'))
        self.assertEqual(self.planned(self.other), (
            VFIO, '', f'{self.other.name}: vfio-pci: this kernel has no more specific driver for it'))
        self.assertEqual(self.systemd.jobs, [])
        self.assert_untouched(self.before)

    def test_the_worker_that_looked_at_the_device_goes_on_to_the_modules(self):
        """It stays, and has libkmod loaded, which takes longer than to ask it."""
        port = self.host.add_device('0000:00:1c.0', group=1, driver='pcieport', class_code=0x060400,
                                    port_type=ROOT_PORT, acs=ACS_ISOLATES)
        card = self.host.add_device('0000:08:00.0', group=10, driver='e1000e', parent=port)
        wait(lambda: self.c.find(card), 'vfiod knows it')
        self.set_policy([{'name': 'isolated', 'effect': 'allow', 'who': {},
                          'what': {'device': card.name, 'isolation': {'acs': True}}}])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.plan(card)
        spawner, = self.daemon.children()
        worker, = harness.children_of(spawner)
        self.assertTrue('libkmod' in pathlib.Path(f'/proc/{worker}/maps').read_text(), 'another worker had it')
        self.plan(card)
        self.assertEqual(harness.children_of(spawner), [worker])

    def test_vfioctl_shows_it(self):
        status, shown = self.vfioctl('plan', self.nic.name)
        self.assertEqual(status, 0)
        self.assertIn('the most specific vfio driver of this kernel', shown)
        self.assertRegex(shown, r'Reset: .* by a reset of the function \(flr\), which reaches it alone')

    def test_a_snapshot_has_it(self):
        device = next(d for d in json.loads(self.run_on_host(os.environ['VFIOCTL'], 'snapshot'))['devices']
                      if d['name'] == self.nic.name)
        self.assertEqual((device['variant'], device['variantDriver']), ('mlx5_vfio_pci', 'mlx5_vfio_pci'))


class GenericTest(VariantTest):
    """Somebody has removed vfio-pci since vfiod started."""

    def setUp(self):
        super().setUp()
        self.there, self.away = f'{self.host.root}/sys/bus/pci/drivers/{VFIO}', f'{self.host.root}/removed'
        os.rename(self.there, self.away)
        self.pending = self.c.acquire_later(self.other)
        wait(lambda: self.systemd.jobs, 'systemd is asked to load the module')
        self.assertEqual(self.systemd.jobs[0][1], 'modprobe@vfio_pci.service')
        self.assertEqual(self.other.driver, 'e1000e')

    def test_systemd_loads_it(self):
        os.rename(self.away, self.there)
        self.systemd.end(0)
        claim = self.result(self.pending)
        self.assertEqual(self.other.driver, VFIO)
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_it_cannot_be_loaded(self):
        self.systemd.end(0)
        with self.refused('BindFailed', self.other.name, VFIO, 'not loaded', 'modprobe vfio_pci'):
            self.result(self.pending)
        os.rename(self.away, self.there)
        self.assert_untouched(self.before)


class LoadTest(VariantTest):
    def begin(self):
        pending = self.c.acquire_later(self.nic)
        wait(lambda: self.systemd.jobs, 'systemd is asked to load the module')
        self.assertEqual(self.systemd.jobs[0][1], UNIT)
        self.assertEqual(self.nic.driver, 'mlx5_core')  # nothing is done before
        return pending

    def test_systemd_loads_the_module(self):
        pending = self.begin()
        self.load()
        self.systemd.end(0)
        claim = self.result(pending)
        self.assertEqual(self.nic.driver, 'mlx5_vfio_pci')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        again = self.c.acquire(self.nic)  # it is loaded by now
        self.assertEqual((len(self.systemd.jobs), self.nic.driver), (1, 'mlx5_vfio_pci'))
        again.close()
        self.wait_gone(again)

    def test_its_driver_has_another_name(self):
        pending = self.begin()
        self.load(driver='virtio_vfio_pci')
        self.systemd.end(0)
        claim = self.result(pending)
        self.assertEqual(self.nic.driver, 'virtio_vfio_pci')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_module_that_cannot_be_loaded(self):
        pending = self.begin()
        self.systemd.end(0)  # whatever modprobe says
        with self.refused('BindFailed', self.nic.name, 'mlx5_vfio_pci', 'not loaded', 'modprobe mlx5_vfio_pci'):
            self.result(pending)
        self.assert_untouched(self.before)

    def test_no_systemd(self):
        self.systemd.close()
        with self.refused('BindFailed', self.nic.name, 'mlx5_vfio_pci', 'not loaded', 'could not be started'):
            self.c.acquire(self.nic)
        self.assert_untouched(self.before)

    def assert_over(self):
        """Though systemd has not loaded the module yet."""
        wait(lambda: self.records() == [], 'the claim ends')
        wait(lambda: self.c.device(self.nic)['State'] == 'free', 'it is free')
        self.assert_untouched(self.before)

    def test_the_client_goes_meanwhile(self):
        self.begin()
        self.c.close()
        self.c = self.client()
        self.assert_over()

    def test_released_meanwhile(self):
        pending = self.begin()
        claim, = [path.rsplit('/', 1)[1] for path, i in self.c.objects().items() if 'org.vfiod1.Claim' in i]
        self.c.manager('Release', 'sa{sv}', claim, {})
        with self.refused('BindFailed', self.nic.name, 'released'):
            self.result(pending)
        self.assert_over()
        self.load()
        self.systemd.end(0)  # nobody waits for that any more
        self.c.acquire(self.nic)

    def test_it_disappears_meanwhile(self):
        pending = self.begin()
        self.host.remove_device(self.nic)
        with self.refused('DeviceGone', self.nic.name):
            self.result(pending)
        wait(lambda: self.records() == [], 'the claim ends')

    def test_the_bus_goes_meanwhile(self):
        with self.peer() as peer:
            peer.send('Acquire', {'devices': [self.nic.name]})
            wait(lambda: self.systemd.jobs, 'systemd is asked to load the module')
            self.bus.stop()
            with self.assertRaises(VarlinkError) as raised:
                peer.reply()
        self.assertIn('no connection to D-Bus', str(raised.exception))
        self.assert_untouched(self.before)

    def test_before_another_device_is_touched(self):
        pending = self.c.acquire_later(self.other, self.nic)
        wait(lambda: self.systemd.jobs, 'systemd is asked to load the module')
        self.assertEqual(self.host.binding(), self.before)
        self.load()
        self.systemd.end(0)
        self.result(pending)
        self.assertEqual((self.other.driver, self.nic.driver), (VFIO, 'mlx5_vfio_pci'))

    def test_killed_meanwhile(self):
        self.begin()
        self.daemon.kill()
        self.start(keep_fds=True)
        self.c = self.client()
        wait(lambda: self.c.device(self.nic)['State'] == 'free', 'it is free')
        self.assert_untouched(self.before)

    def test_a_rule_names_another(self):
        self.set_policy([self.rule(driver=VFIO)])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        claim = self.c.acquire(self.nic)
        self.assertEqual((self.nic.driver, self.systemd.jobs), (VFIO, []))
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)


class SlowLoadTest(VariantTest):
    OPTIONS = ('--worker-timeout=1',)

    def test_modprobe_takes_too_long(self):
        with self.refused('BindFailed', self.nic.name, 'did not end within 1 s'):
            self.c.acquire(self.nic)
        self.assert_untouched(self.before)


class BlacklistTest(VariantTest):
    MODPROBE = 'blacklist mlx5_vfio_pci\n'

    def test_plan(self):
        self.assertEqual(self.planned(self.nic), (
            VFIO, '', f'{self.nic.name}: vfio-pci: the more specific mlx5_vfio_pci is blacklisted in modprobe.d'))


class AliasTest(VariantTest):
    """An alias of the operator's is for a device that the module does not know."""
    MODPROBE = 'alias vfio_pci:v00008086d000010D3* mlx5_vfio_pci\n'

    def test_plan(self):
        self.assertEqual(self.planned(self.other)[:2], ('mlx5_vfio_pci', 'mlx5_vfio_pci'))


class MissingTest(VariantTest):
    MODULES = {'vfio_pci': [ANY]}

    def test_plan_names_what_would_be_better(self):
        self.assertEqual(self.planned(self.nic), (
            VFIO, '', f'{self.nic.name}: vfio-pci: mlx5_vfio_pci would be better (live migration), and this kernel '
            'does not have the module'))


    def test_doctor_names_it(self):
        findings = json.loads(self.run_on_host(os.environ['VFIOCTL'], 'doctor', '--json'))
        self.assertIn('mlx5_vfio_pci', next(f['fact'] for f in findings if f['subject'] == 'driver'))


class UnknownTest(VariantTest):
    MODULES = {}

    def test_plan(self):
        self.assertEqual(self.planned(self.nic), (
            VFIO, '', f'{self.nic.name}: vfio-pci: whether this kernel has a more specific driver is unknown'))


class UnreadableTest(VariantTest):
    """Trouble with the files of the modules says nothing about the device: it gets vfio-pci."""
    OPTIONS = ('--worker-timeout=1',)
    UNKNOWN = 'vfio-pci: whether this kernel has a more specific driver is unknown'

    def index(self):
        return f'{self.host.root}/lib/modules/{os.uname().release}/modules.alias.bin'

    def claim(self):
        self.assertIn(self.UNKNOWN, self.plan(self.nic)['drivers'])
        claim = self.c.acquire(self.nic)
        self.assertEqual((self.nic.driver, self.systemd.jobs), (VFIO, []))
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_read_that_hangs(self):
        os.unlink(self.index())
        os.mkfifo(self.index())
        self.claim()
        self.wait_logged('Reading the modules of the kernel takes too long')


if __name__ == '__main__':
    harness.main()

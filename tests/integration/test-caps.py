#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What devices can do together with their IOMMU: who may have them opened to find out, when, and what is shown."""

import errno
import os
import pathlib
import shutil
import threading

import harness
from harness import NAME, NOBODY, ROOT_PATH, Pending, VfiodTestCase, device_path, identity, needs_root, wait
from host import VFIO

UNSAFE = '/sys/module/{}/parameters/allow_unsafe_interrupts'


class CapsTestCase(VfiodTestCase):
    """A NIC and an accelerator that are on vfio-pci, and a disk that the host drives."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.accelerator = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.disk = self.host.add_device('0000:08:00.0', group=10, driver='nvme', class_code=0x010802)
        for module in ('iommufd', 'vfio_iommu_type1'):
            self.kernel.put(UNSAFE.format(module), 'N\n')
        caps = self.accelerator.caps
        caps.pasid_bits, caps.hw_capabilities, caps.migration, caps.features = 20, 1 | 2, 1 | 2 | 4, {6, 11}
        caps.vtd_cap |= 1 << 35

    def probe(self, device, client=None):
        (client or self.c).manager('ProbeCapabilities', 'sa{sv}', getattr(device, 'name', device), {})

    def probe_later(self, device):
        pending = Pending()
        self.c.connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', 'ProbeCapabilities', 'sa{sv}', (device.name, {}),
                                     pending.reply, pending.fail, harness.CALL_TIMEOUT)
        return pending

    def caps(self, device, client=None):
        return {str(k): v for k, v in (client or self.c).get(device_path(device.name), 'Device', 'Capabilities').items()}

    def assert_idle(self, device):
        """Everything is closed again, and nobody has a file of it."""
        self.assertEqual(self.kernel.get(device.path + '/enable').strip(), '0')
        self.assertFalse(self.kernel.nodes.is_open(self.host.cdev(device)))


class ProbeTest(CapsTestCase):
    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        self.c = self.client()

    def test_everything_is_asked_of_the_kernel(self):
        self.start()
        self.assertEqual(self.caps(self.accelerator), {})
        self.probe(self.accelerator)
        self.assertEqual(self.caps(self.accelerator), {
            'driver': 'vfio-pci', 'iommu': 'intel-vtd', 'coherency': True, 'enforced-coherency': True,
            'interrupt-remapping': True, 'pasid': 20, 'dirty-tracking': True, 'dma-logging': True,
            'migration': ['stop-copy', 'p2p', 'pre-copy'], 'dma-buf': True, 'page-sizes': [4096, 2 << 20, 1 << 30],
            'iova-ranges': [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]})
        self.assert_idle(self.accelerator)
        self.assertEqual(self.caps(self.nic), {})

    def test_what_a_plain_device_has_not(self):
        self.nic.caps.enforces_coherency = False
        self.nic.caps.vtd_cap = 0
        self.start()
        self.probe(self.nic)
        self.assertEqual(self.caps(self.nic), {
            'driver': 'vfio-pci', 'iommu': 'intel-vtd', 'coherency': True, 'enforced-coherency': False,
            'interrupt-remapping': True, 'pasid': 0, 'dirty-tracking': False, 'dma-logging': False, 'migration': [],
            'dma-buf': False, 'page-sizes': [4096], 'iova-ranges': [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]})

    def test_what_the_kernel_does_not_tell_is_unknown(self):
        self.nic.caps.hw_type = 4  # AMD: its registers are not read
        self.nic.caps.iova = [(i << 32, (i << 32) + 4095) for i in range(20)]
        self.kernel.put(UNSAFE.format('iommufd'), 'Y\n')
        self.start()
        self.probe(self.nic)
        caps = self.caps(self.nic)
        self.assertEqual(caps['iommu'], 'amd')
        self.assertNotIn('page-sizes', caps)
        self.assertNotIn('interrupt-remapping', caps)  # the kernel would have given it away all the same
        self.assertEqual(len(caps['iova-ranges']), 8)

    def test_an_ioctl_that_fails_leaves_its_fact_unknown(self):
        self.kernel.fail_ioctl = {0x3B8A: errno.EINVAL, 0x3B84: errno.EINVAL, 0x3B75: errno.EIO, 0x3B65: errno.EINVAL}
        self.start()
        self.probe(self.nic)
        self.assertEqual(set(self.caps(self.nic)), {'driver', 'coherency', 'interrupt-remapping'})
        self.assert_idle(self.nic)

    def test_a_group_can_what_all_of_its_devices_can(self):
        def of_group():
            caps = self.c.get(f'{ROOT_PATH}/group/9', 'Group', 'Capabilities')
            return {str(k): v for k, v in caps.items()}
        second = self.host.add_device('0000:07:00.1', group=9, driver=VFIO)
        second.caps.vtd_cap = 0
        bridge = self.host.add_device('0000:07:00.2', group=9, driver='pcieport', class_code=0x060400)
        self.start()
        self.assertEqual(of_group(), {})
        self.probe(self.accelerator)
        self.assertEqual(of_group(), {})  # nothing is known of the other
        self.probe(second)
        self.assertEqual((of_group()['page-sizes'], self.caps(bridge)), ([4096], {}))
        self.assertEqual(of_group()['pasid'], min(self.caps(self.accelerator)['pasid'], self.caps(second)['pasid']))
        self.kernel.remove(second)
        wait(lambda: of_group() == self.caps(self.accelerator), 'the other is gone')

    def test_it_is_forgotten_with_the_device(self):
        self.start()
        self.probe(self.nic)
        self.kernel.remove(self.nic)
        wait(lambda: device_path(self.nic.name) not in self.c.objects(), 'it is gone')
        again = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.kernel.announce('add', again)
        wait(lambda: device_path(again.name) in self.c.objects(), 'it is back')
        self.assertEqual(self.caps(again), {})


class KeptTest(CapsTestCase):
    """What was seen is there again after a start of the daemon, as long as it is the same device."""

    def setUp(self):
        super().setUp()
        self.begin()

    def begin(self, **options):
        self.start(**options)
        self.c = self.client()

    def again(self):
        self.daemon.kill()
        self.manager.forget()
        self.kernel.ioctls.clear()
        self.begin()

    def files(self):
        return {f.name: f for f in pathlib.Path(f'{self.directory}/state/capabilities').iterdir()}

    def test_after_a_start(self):
        self.probe(self.accelerator)
        seen = self.caps(self.accelerator)
        self.assertEqual(list(self.files()), [self.accelerator.name])
        self.again()
        self.assertEqual(self.caps(self.accelerator), seen)
        claim = self.c.acquire(self.accelerator, require='pasid=20,migration=p2p,page-size=1G')
        self.assertFalse([request for _, request, _, _ in self.kernel.ioctls if request in (0x3B76, 0x3B6A)])
        claim.close()
        self.wait_gone(claim)
        with self.refused('RequirementNotMet', 'page-size'):
            self.c.acquire(self.accelerator, require='pasid=20,page-size=4M')

    def test_what_a_claim_has_seen(self):
        claim = self.c.acquire(self.nic, require='coherency')
        claim.close()
        self.wait_gone(claim)
        seen = self.caps(self.nic)
        self.assertTrue(seen['coherency'])
        self.again()
        self.assertEqual(self.caps(self.nic), seen)

    def test_another_device_at_its_place(self):
        """Even one with the same ids: its firmware may be another."""
        self.probe(self.nic)
        self.daemon.kill()
        path = self.host.root + self.nic.path
        os.rename(path, path + '.gone')
        shutil.copytree(path + '.gone', path, symlinks=True)
        self.kernel.remove_tree(self.nic.path + '.gone')
        self.again()
        self.assertEqual((self.caps(self.nic), self.files()), ({}, {}))

    def load_again(self, driver=VFIO):
        """The module is removed and loaded: a driver of the same name, in another directory."""
        path = f'{self.host.root}/sys/bus/pci/drivers/{driver}'
        os.rename(path, path + '.gone')
        shutil.copytree(path + '.gone', path, symlinks=True)
        shutil.rmtree(path + '.gone')

    def test_a_driver_that_was_loaded_again(self):
        """Another version of it may be able to do something else."""
        self.probe(self.accelerator)
        self.assertEqual(self.caps(self.accelerator)['pasid'], 20)
        self.load_again()
        self.accelerator.caps.pasid_bits = 8
        with self.refused('RequirementNotMet', 'pasid=20'):  # it was looked at anew
            self.c.acquire(self.accelerator, require='pasid=20')
        self.assertEqual(self.caps(self.accelerator)['pasid'], 8)
        self.load_again()
        self.assertEqual(self.caps(self.accelerator), {})
        self.assertEqual(self.c.get(f'{ROOT_PATH}/group/{self.accelerator.group}', 'Group', 'Capabilities'), {})

    def test_a_driver_that_was_loaded_again_meanwhile(self):
        self.probe(self.accelerator)
        self.probe(self.nic)
        self.daemon.kill()
        self.load_again()
        self.again()
        self.assertEqual((self.caps(self.nic), self.caps(self.accelerator), self.files()), ({}, {}, {}))

    def test_a_driver_that_is_gone(self):
        self.probe(self.accelerator)
        path = f'{self.host.root}/sys/bus/pci/drivers/{VFIO}'
        os.rename(path, path + '.gone')
        self.assertEqual(self.caps(self.accelerator), {})
        os.rename(path + '.gone', path)
        self.assertEqual(self.caps(self.accelerator), {})  # forgotten is forgotten

    def test_other_ids_at_its_place(self):
        """Its firmware was changed while there was no daemon: the kernel shows another revision."""
        self.probe(self.nic)
        self.daemon.kill()
        self.kernel.put(self.nic.path + '/revision', '0x7f\n')
        self.again()
        self.assertEqual((self.caps(self.nic), self.files()), ({}, {}))

    def test_it_goes_with_the_device(self):
        self.probe(self.nic)
        self.probe(self.accelerator)
        self.kernel.remove(self.nic)
        wait(lambda: list(self.files()) == [self.accelerator.name], 'its file goes')
        self.daemon.kill()
        self.kernel.remove(self.accelerator)
        self.again()
        self.assertEqual(self.files(), {})

    def test_files_that_say_nothing(self):
        self.probe(self.nic)
        self.probe(self.accelerator)
        files = self.files()
        text = files[self.accelerator.name].read_text()
        self.daemon.kill()
        files[self.nic.name].write_text(text)  # that of the other one
        files[self.accelerator.name].write_text(text[:-9])
        for name in ('x', self.disk.name):
            files[self.nic.name].with_name(name).write_bytes(b'\xff\0{')
        self.again()
        self.assertEqual((self.caps(self.nic), self.caps(self.accelerator), self.caps(self.disk)), ({}, {}, {}))
        self.assertEqual(self.files(), {})


class RefusedTest(CapsTestCase):
    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        self.c = self.client()

    def assert_unopened(self, device):
        self.assertEqual([i for i in self.kernel.ioctls if i[1] in (0x3B76, 0x3B6A)], [])
        self.assert_idle(device)

    @needs_root
    def test_only_root(self):
        self.start()
        with identity(NOBODY):
            stranger = self.client()
        with self.refused('AccessDenied', 'only root', 'No rule can allow it'):
            self.probe(self.nic, stranger)
        self.assert_unopened(self.nic)
        self.probe(self.nic)
        self.assertEqual(self.caps(self.nic, stranger)['iommu'], 'intel-vtd')  # what root has learned

    def test_a_device_of_a_host_driver_stays_there(self):
        before = self.host.binding()
        self.start()
        with self.refused('NodeMissing', 'not on a vfio driver but on nvme'):
            self.probe(self.disk)
        self.assertEqual(self.host.binding(), before)

    def test_devices_of_other_kinds(self):
        """The kernel would answer for what the parent makes of them."""
        uuid = 'c9abdcb5-5279-413a-9057-c81d2605ce9c'
        mdev = self.host.add_mdev(uuid)
        self.set_policy([{**self.rule(), 'what': {'bus': ['pci', 'mdev']}, 'reset': 'optional'}])
        self.start()
        with self.refused('NotSupported', 'only that of PCI functions'):
            self.probe(mdev)
        with self.refused('RequirementNotMet', 'requires coherency', 'is unknown'):
            self.c.acquire(mdev, require='coherency')

    def test_a_claimed_device(self):
        self.start()
        claim = self.c.acquire(self.nic)
        with self.refused('DeviceClaimed', 'a claim holds it'):
            self.probe(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assert_unopened(self.nic)

    def test_a_device_that_a_program_has_open(self):
        self.kernel.set_enable(self.nic, 1)
        self.start()
        with self.refused('GroupInUse', 'a program has it or its group open'):
            self.probe(self.nic)
        self.assertEqual(self.caps(self.nic), {})

    def test_a_group_that_the_host_uses(self):
        self.host.add_device('0000:06:00.1', group=8, driver='e1000e')
        self.start()
        with self.refused('GroupNotViable', 'IOMMU group 8'):
            self.probe(self.nic)
        self.assert_unopened(self.nic)

    def test_a_device_whose_virtual_function_is_claimed(self):
        function = self.host.add_device('0000:06:10.0', group=11, driver=VFIO, physfn=self.nic)
        self.start()
        claim = self.c.acquire(function)
        with self.refused('DeviceClaimed', 'pci:0000:06:10.0', 'its reset would disturb'):
            self.probe(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assert_unopened(self.nic)
        self.probe(self.nic)

    def test_bad_names(self):
        self.start()
        for name, error in (('pci:0000:99:00.0', 'NoSuchDevice'), ('', 'InvalidName'), ('x' * 300, 'InvalidName'),
                            ('../../etc', 'InvalidName')):
            with self.refused(error):
                self.probe(name)
        with self.refused('UnknownOption'):
            self.c.manager('ProbeCapabilities', 'sa{sv}', self.nic.name, {'force': True})

    def test_the_kernel_refuses_the_bind(self):
        self.kernel.fail_ioctl = {0x3B76: errno.EPERM}
        self.start()
        with self.refused('GroupNotViable', 'the kernel refuses its group'):
            self.probe(self.nic)
        self.assertEqual(self.caps(self.nic), {})


class ExclusionTest(CapsTestCase):
    """While a worker has a device open, nobody gets it."""

    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        self.c = self.client()

    def hold_bind(self):
        gate = self.kernel.hold('ioctl', data=self.host.cdev(self.nic), times=1)
        return gate

    def test_a_claim_waits_and_is_given_then(self):
        self.start()
        gate = self.hold_bind()
        probing = self.probe_later(self.nic)
        wait(lambda: gate.entered, 'the worker binds it')
        claiming = self.c.acquire_later(self.nic)
        other = self.c.acquire(self.accelerator)  # of another group
        other.close()
        self.wait_gone(other)
        self.assertFalse(claiming.done)
        gate.let_go()
        wait(lambda: probing.done and claiming.done, 'both are answered')
        self.assertIsNone(probing.error)
        claim = claiming.value[0]
        self.assertEqual(claim.state, 'held')
        self.assertEqual(self.caps(self.nic)['pasid'], 0)
        claim.close()
        self.wait_gone(claim)

    def test_a_claim_of_its_virtual_function_waits(self):
        function = self.host.add_device('0000:06:10.0', group=11, driver=VFIO, physfn=self.nic)
        self.start()
        gate = self.hold_bind()
        probing = self.probe_later(self.nic)
        wait(lambda: gate.entered, 'the worker binds it')
        claiming = self.c.acquire_later(function)
        self.c.manager('GetDevice', 's', self.nic.name)
        self.assertFalse(claiming.done)
        gate.let_go()
        wait(lambda: probing.done and claiming.done, 'both are answered')
        claiming.value[0].close()
        self.wait_gone(claiming.value[0])

    def test_two_who_ask_at_once_are_one_look(self):
        self.start()
        gate = self.hold_bind()
        first = self.probe_later(self.nic)
        wait(lambda: gate.entered, 'the worker binds it')
        second = self.probe_later(self.nic)
        self.c.manager('GetDevice', 's', self.nic.name)  # the second has arrived
        gate.let_go()
        wait(lambda: first.done and second.done, 'both are answered')
        self.assertEqual((first.error, second.error), (None, None))
        self.assertEqual(len([i for i in self.kernel.ioctls if i[1] == 0x3B76]), 1)

    def test_an_asker_who_leaves(self):
        self.start()
        gate = self.hold_bind()
        leaving = self.client()
        leaving.connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', 'ProbeCapabilities', 'sa{sv}',
                                      (self.nic.name, {}), lambda *_: None, lambda _: None, harness.CALL_TIMEOUT)
        wait(lambda: gate.entered, 'the worker binds it')
        leaving.close()
        claiming = self.c.acquire_later(self.nic)
        self.c.manager('GetDevice', 's', self.nic.name)
        self.assertFalse(claiming.done)
        gate.let_go()
        wait(lambda: claiming.done, 'the claim is given')
        claiming.value[0].close()
        self.wait_gone(claiming.value[0])
        self.assertEqual(self.caps(self.nic)['pasid'], 0)

    def test_a_device_that_is_unplugged_meanwhile(self):
        self.start()
        gate = self.hold_bind()
        probing = self.probe_later(self.nic)
        wait(lambda: gate.entered, 'the worker binds it')
        removing = threading.Thread(target=self.kernel.remove, args=(self.nic,))  # waits until it is closed
        removing.start()
        gate.let_go(error=errno.ENODEV)
        wait(lambda: probing.done, 'the answer')
        self.assertIn(probing.error.get_dbus_name(), [harness.ERROR + e for e in ('DeviceGone', 'NoSuchDevice')])
        removing.join()
        wait(lambda: device_path(self.nic.name) not in self.c.objects(), 'it is gone')


class RequireTest(CapsTestCase):
    """A claim that requires something of its devices."""

    def setUp(self):
        super().setUp()
        self.card = self.host.add_device('0000:09:00.0', group=12, driver='mlx5_core')
        self.card.caps.pasid_bits, self.card.caps.migration = 16, 1
        self.before = self.host.binding()

    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        self.c = self.client()

    def n_looks(self):
        return len([i for i in self.kernel.ioctls if i[1] in (0x3B76, 0x3B6A)])

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)

    def test_what_is_unknown_is_looked_at_before_it_is_handed_out(self):
        self.start()
        claim = self.c.acquire(self.card, require='pasid=16,migration=stop-copy,page-size=2M,interrupt-remapping')
        self.assertEqual(self.n_looks(), 1)
        self.assertEqual(claim.state, 'held')
        self.assertEqual(self.caps(self.card)['pasid'], 16)
        self.assertEqual(self.kernel.get(self.card.path + '/enable').strip(), '0')  # the look is over
        self.end(claim)
        self.assertEqual(self.host.binding(), self.before)
        self.end(self.c.acquire(self.card, require='pasid'))  # it is known by now
        self.assertEqual(self.n_looks(), 1)

    def test_what_is_not_met_undoes_the_claim(self):
        self.start()
        with self.refused('RequirementNotMet', 'requires pasid=17', 'driver vfio-pci', '16 bits'):
            self.c.acquire(self.card, require='migration,pasid=17')
        wait(lambda: self.host.binding() == self.before, 'it is put back')
        self.assertEqual(self.kernel.ledger.n_given, 0)
        self.assert_untouched(self.before)
        with self.refused('RequirementNotMet', 'requires pasid=17'):  # and now at once
            self.c.acquire(self.card, require='pasid=17')
        self.assertEqual(self.n_looks(), 1)

    def test_a_plan_takes_no_look(self):
        self.start()
        self.c.plan(self.card, require='pasid=17')
        self.assertEqual(self.n_looks(), 0)
        self.probe(self.accelerator)
        self.c.plan(self.accelerator, require='pasid=20')
        self.probe(self.nic)
        with self.refused('RequirementNotMet', 'migration'):
            self.c.plan(self.nic, require='migration')

    def test_nothing_required_costs_nothing(self):
        self.start()
        self.end(self.c.acquire(self.card))
        self.assertEqual(self.n_looks(), 0)

    def test_what_another_driver_has_shown_does_not_count(self):
        self.start()
        with self.refused('RequirementNotMet'):
            self.c.acquire(self.card, require='dma-buf')
        wait(lambda: self.host.binding() == self.before, 'it is put back')
        self.kernel.unbind(self.card)
        self.card.override = 'mlx5_vfio_pci'
        self.kernel.add_driver('mlx5_vfio_pci')
        self.kernel.probe(self.card, 'mlx5_vfio_pci')
        wait(lambda: self.c.device(self.card)['Driver'] == 'mlx5_vfio_pci', 'it is on its own driver')
        self.card.caps.features = {11}
        self.end(self.c.acquire(self.card, require='dma-buf'))
        self.assertEqual((self.n_looks(), self.caps(self.card)['driver']), (2, 'mlx5_vfio_pci'))

    def test_what_cannot_be_told_is_refused(self):
        self.kernel.put(UNSAFE.format('iommufd'), 'Y\n')
        self.start()
        with self.refused('RequirementNotMet', 'requires interrupt-remapping', 'is unknown'):
            self.c.acquire(self.card, require='interrupt-remapping')
        wait(lambda: self.host.binding() == self.before, 'it is put back')
        self.assert_untouched(self.before)

    def test_a_device_that_cannot_be_opened(self):
        self.kernel.fail_ioctl = {0x3B76: errno.EPERM}
        self.start()
        with self.refused('OpenFailed', 'the request requires pasid', 'could not be opened to find out'):
            self.c.acquire(self.card, require='pasid')
        wait(lambda: self.host.binding() == self.before, 'it is put back')
        self.assert_untouched(self.before)

    def test_every_device_must_have_it(self):
        self.start()
        with self.refused('RequirementNotMet', self.nic.name):
            self.c.acquire(self.card, self.accelerator, self.nic, require='pasid')
        wait(lambda: self.host.binding() == self.before, 'they are put back')
        self.assertEqual(self.n_looks(), 3)
        self.end(self.c.acquire(self.card, self.accelerator, require='pasid'))
        self.assertEqual(self.n_looks(), 3)

    def test_devices_that_join_a_claim(self):
        self.start()
        claim = self.c.acquire(self.accelerator)
        with self.refused('RequirementNotMet', self.nic.name):
            self.c.add(claim, self.nic, require='pasid')
        self.c.add(claim, self.card, require='pasid')
        self.end(claim)

    def test_who_leaves_during_the_look(self):
        self.start()
        gate = self.kernel.hold('ioctl', times=1)
        leaving = self.client()
        leaving.acquire_later(self.card, require='pasid')
        wait(lambda: gate.entered, 'a worker looks')
        leaving.close()
        gate.let_go()
        wait(lambda: self.records() == [] and self.host.binding() == self.before, 'it is put back')
        self.assertEqual(self.kernel.ledger.n_given, 0)

    def test_a_crash_during_the_look(self):
        self.start()
        gate = self.kernel.hold('ioctl', times=1)
        self.c.acquire_later(self.card, require='pasid')
        wait(lambda: gate.entered, 'a worker looks')
        self.daemon.kill()
        gate.let_go()
        self.start()
        wait(lambda: self.records() == [] and self.host.binding() == self.before, 'it is put back')

    def test_bad_requirements(self):
        self.start()
        for require in ('', 'pasid,', 'teleport', 'pasid=99', 'migration=v1', 'page-size', 'x' * 5000, 'pasid\x1b[31m'):
            with self.refused('InvalidArgument', 'can be required'):
                self.c.acquire(self.card, require=require)
        with self.refused('InvalidArgument'):
            self.c.acquire(self.card, require=True)
        self.assertEqual(self.n_looks(), 0)
        self.assert_untouched(self.before)

    def test_a_stranger_hears_the_policy_alone(self):
        self.set_policy([self.rule(device='pci:0000:09:00.0')])
        self.start()
        self.probe(self.nic)
        with self.refused('AccessDenied'):
            self.c.acquire(self.nic, require='pasid')

    def test_what_the_backend_cannot_have(self):
        self.start()
        with self.refused('RequirementNotMet', 'requires pasid', 'through the backend group'):
            self.c.acquire(self.card, require='pasid', backend='group')
        self.assertEqual(self.n_looks(), 0)
        self.end(self.c.acquire(self.card, require='migration', backend='group'))
        self.assertEqual(self.n_looks(), 1)


class PolicyTest(CapsTestCase):
    """Rules that ask what a device can do."""

    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        self.c = self.client()

    def capable(self, capabilities, **more):
        return {**self.rule('capable', **more), 'what': {'device': '*', 'capabilities': capabilities}}

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)

    def test_an_allow_rule_needs_to_know(self):
        self.set_policy([self.capable('pasid=20,migration=p2p')])
        self.start()
        with self.refused('AccessDenied', 'what.capabilities requires', 'the fact is unknown'):
            self.c.acquire(self.accelerator)
        self.probe(self.accelerator)
        self.end(self.c.acquire(self.accelerator))
        self.probe(self.nic)
        with self.refused('AccessDenied', 'found pasid: no, migration: no'):
            self.c.acquire(self.nic)

    def test_a_deny_rule_counts_what_is_unknown(self):
        self.set_policy([self.capable('pasid', effect='deny'), self.rule()])
        self.start()
        with self.refused('AccessDenied'):
            self.c.acquire(self.nic)
        self.probe(self.nic)
        self.end(self.c.acquire(self.nic))
        self.probe(self.accelerator)
        with self.refused('AccessDenied'):
            self.c.acquire(self.accelerator)

    def test_a_policy_opens_no_device(self):
        self.set_policy([self.capable('dma-buf')])
        self.start()
        with self.refused('AccessDenied'):
            self.c.plan(self.accelerator)
        self.assertEqual([i for i in self.kernel.ioctls if i[1] == 0x3B76], [])


class GroupBackendTest(CapsTestCase):
    """A kernel without cdevs: the group and a container of type 1."""

    host_options = {'cdev': False, 'iommufd': False}

    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        self.c = self.client()

    def assert_idle(self, device):
        self.assertEqual(self.kernel.get(device.path + '/enable').strip(), '0')
        self.assertFalse(self.kernel.nodes.is_open(f'/dev/vfio/{device.group}'))

    def test_the_container_tells_other_things(self):
        self.start()
        self.probe(self.accelerator)
        self.assertEqual(self.caps(self.accelerator), {
            'driver': 'vfio-pci', 'coherency': True, 'enforced-coherency': True, 'interrupt-remapping': True,
            'dma-logging': True, 'migration': ['stop-copy', 'p2p', 'pre-copy'], 'dma-buf': True,
            'page-sizes': [4096, 2 << 20], 'iova-ranges': [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]})
        self.assert_idle(self.accelerator)

    def test_a_claim_follows(self):
        self.start()
        claim = self.c.acquire(self.nic, require='coherency')
        claim.close()
        self.wait_gone(claim)
        self.probe(self.nic)
        claim = self.c.acquire(self.nic)
        self.assertEqual(claim.result['backend'], 'group')
        claim.close()
        self.wait_gone(claim)

    def test_a_group_that_a_program_has_open(self):
        self.start()
        fd = self.kernel.nodes.open('/dev/vfio/8')
        with self.refused('GroupInUse'):
            self.probe(self.nic)
        os.close(fd)

    def test_a_list_of_capabilities_that_meets_itself(self):
        self.kernel.type1_next = 24
        self.start()
        self.probe(self.nic)
        self.assertTrue(self.caps(self.nic)['iova-ranges'])


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mediated devices that drivers can make: which types there are, and how many more of each."""

import json
import os

import harness
from harness import ROOT_PATH, device_path
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

    def vfioctl(self, *arguments):
        """(exit status, output)"""
        process = self.tool(os.environ['VFIOCTL'], *arguments)
        output, _ = process.communicate(timeout=harness.CALL_TIMEOUT)
        return process.returncode, output

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

    def test_a_host_without_any(self):
        self.host.remove_mdev_parent(self.mtty).join(20)
        self.host.remove_mdev_parent(self.gpu_parent).join(20)
        self.begin()
        self.assertEqual(self.types(), {})
        self.assertEqual(self.vfioctl('types'), (0, 'No driver of this host makes mediated devices.\n'))

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


if __name__ == '__main__':
    harness.main()

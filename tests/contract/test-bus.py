#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dbus/org.vfiod1.xml is the contract: the running daemon, `vfiod --bus-introspect` and the definition say the same."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

import harness
from harness import NAME, ROOT_PATH, SOURCE, VfiodTestCase, device_path
from host import VFIO

INTROSPECTABLE = 'org.freedesktop.DBus.Introspectable'
KINDS = ('Manager', 'Device', 'Group', 'Claim')


def normalise(element):
    """What a client can rely on, in an order of its own: names, types, directions, access, annotations."""
    annotations = {a.get('name'): a.get('value') for a in element.findall('annotation')}
    arguments = [(a.get('name'), a.get('type'), a.get('direction', 'in' if element.tag == 'method' else 'out'))
                 for a in element.findall('arg')]
    return {'kind': element.tag, 'name': element.get('name'), 'type': element.get('type'),
            'access': element.get('access'), 'arguments': arguments, 'annotations': annotations}


def interfaces(text):
    """{interface: {(kind, member): definition}} of ours."""
    return {i.get('name'): {(m.tag, m.get('name')): normalise(m) for m in i if m.tag != 'annotation'}
            for i in ElementTree.fromstring(text).findall('interface') if i.get('name').startswith(NAME + '.')}


class ContractTest(VfiodTestCase):
    maxDiff = None

    def setUp(self):
        super().setUp()
        self.contract = interfaces((SOURCE / 'dbus' / 'org.vfiod1.xml').read_text())
        disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.start()
        self.c = self.client()
        self.claim = self.c.acquire(disk)
        self.addCleanup(self.claim.close)
        self.paths = {'Manager': ROOT_PATH, 'Device': device_path(disk.name), 'Group': f'{ROOT_PATH}/group/9',
                      'Claim': self.claim.path}

    def introspect(self, path):
        return str(self.c.call(path, INTROSPECTABLE, 'Introspect', ''))

    def test_the_contract_has_all_kinds(self):
        self.assertEqual(set(self.contract), {f'{NAME}.{kind}' for kind in KINDS})
        for name, members in self.contract.items():
            self.assertGreater(len(members), 5, name)

    def test_the_running_daemon_keeps_it(self):
        for kind in KINDS:
            with self.subTest(kind):
                interface = f'{NAME}.{kind}'
                self.assertEqual(interfaces(self.introspect(self.paths[kind])), {interface: self.contract[interface]})

    def test_bus_introspect_says_the_same(self):
        for kind in KINDS:
            with self.subTest(kind):
                path = self.paths[kind]
                output = subprocess.run([os.environ['VFIOD_TEST_DAEMON'], f'--bus-introspect={path}'], check=True,
                                        capture_output=True, text=True).stdout
                self.assertEqual(interfaces(output), interfaces(self.introspect(path)))

    def test_bus_introspect_knows_no_other_path(self):
        for path in ('/', '/org/vfiod1/devices', '/org/vfiod', 'org/vfiod1', ''):
            with self.subTest(path):
                process = subprocess.run([os.environ['VFIOD_TEST_DAEMON'], f'--bus-introspect={path}'],
                                         capture_output=True, text=True)
                self.assertEqual((process.returncode, process.stdout), (1, ''))

    def test_values_have_the_types_of_the_contract(self):
        for kind in KINDS:
            interface = f'{NAME}.{kind}'
            properties = {name: d for (tag, name), d in self.contract[interface].items() if tag == 'property'}
            costly = {name for name, d in properties.items() if 'org.freedesktop.systemd1.Explicit' in d['annotations']}
            with self.subTest(kind):
                self.assertEqual(set(self.c.properties(self.paths[kind], kind)), set(properties) - costly)
            for name, definition in properties.items():
                with self.subTest(f'{kind}.{name}'):
                    status, output = self.busctl('get-property', NAME, self.paths[kind], interface, name)
                    self.assertEqual(status, 0, output)
                    self.assertEqual(output.split(' ', 1)[0].strip(), definition['type'])


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs in examples/, as they are."""

import os
import pathlib
import subprocess
import sys

import harness
from harness import VfiodTestCase, wait

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / 'examples'
UUID = '6f2a3c0e-5a7e-4a7c-9d43-3c4d1f6b0a11'


class LibvirtTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.card = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.nic = self.host.add_device('0000:07:00.0', group=9, driver='igb')
        self.before = self.host.binding()

    def run_example(self, *command):
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / 'libvirt-dbus.py', 'work', UUID, '06:00.0', '07:00.0', '--', *command],
            env=dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=self.bus.address), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        return process

    def test_the_life_of_a_domain(self):
        self.start()
        process = self.run_example('sh', '-c', 'readlink /proc/self/fd/$0 /proc/self/fd/$1; read line', '{iommufd}', '{device}')
        lines = [process.stdout.readline() for _ in range(4)]
        self.assertTrue(any(line.strip().endswith('/iommu') for line in lines), lines)
        self.assertTrue(any('vfio' in line for line in lines), lines)
        self.assertTrue(any('is held and hangs on process' in line for line in lines), lines)
        self.assertIn(f'added {self.nic.name}: device:{self.nic.name}\n', lines)
        (claim,) = (name.removesuffix('.json') for name in self.records())
        self.assertEqual(self.client().manager('GetClaim', 's', f'cookie:{UUID}').rpartition('/')[2], claim)
        out, error = process.communicate('quit\n', timeout=60)
        self.assertEqual((process.returncode, out, error), (0, '', ''))
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

    def test_denied(self):
        self.set_policy([])
        self.start()
        _, error = self.run_example('true').communicate(timeout=60)
        self.assertIn('org.vfiod1.Error.AccessDenied: ', error)
        self.assert_untouched(self.before)

    def test_no_vfiod(self):
        process = self.run_example('true')
        self.assertEqual(process.communicate(timeout=60)[1], 'There is no vfiod on this host.\n')
        self.assertEqual(process.returncode, 1)


if __name__ == '__main__':
    harness.main()

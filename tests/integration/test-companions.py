#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that a device link ties to another one: shown, and in the way only where the kernel takes their driver away."""

import os

import harness
from harness import VfiodTestCase
from host import VFIO


class CompanionsTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.gpu = self.host.add_device('0000:06:00.0', group=8, driver='nouveau', class_code=0x030000)
        self.sound = self.host.add_device('0000:06:00.1', group=9, driver='snd_hda_intel', class_code=0x040300)
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_they_are_shown(self):
        self.host.add_link(self.gpu, self.sound)
        consumer = f'consumer {self.sound.name} (driver snd_hda_intel)'
        self.assertEqual(str(self.c.device(self.gpu)['Companions']), consumer)
        self.assertEqual(str(self.c.device(self.sound)['Companions']), f'supplier {self.gpu.name} (driver nouveau)')
        self.assertEqual(self.c.plan(self.gpu)['companions'], f'{self.gpu.name}: {consumer}')
        for verb in ('plan', 'status'):
            status, output = self.vfioctl(verb, self.gpu.name)
            self.assertEqual(status, 0)
            self.assertIn(f'consumer {self.sound.name}', ' '.join(str(output).split()))
        self.end(self.c.acquire(self.gpu))

    def test_one_without_any(self):
        self.assertEqual(str(self.c.device(self.gpu)['Companions']), '')
        self.assertNotIn('companions', self.c.plan(self.gpu))

    def test_one_that_would_lose_its_driver(self):
        for status in ('active', 'consumer probing', 'a word of another kernel'):
            with self.subTest(status):
                self.host.add_link(self.gpu, self.sound, status)
                with self.refused('HostCritical', f'{self.sound.name} (driver snd_hda_intel) depends on it', 'Unbind'):
                    self.c.acquire(self.gpu)
                self.assert_untouched(self.before)
                self.unlink()
        self.host.add_link(self.gpu, self.sound, 'active')
        self.end(self.c.acquire(self.sound))  # not the other way round
        for both in ((self.sound, self.gpu), (self.gpu, self.sound)):
            with self.refused('HostCritical', self.sound.name, 'Unbind the driver'):
                self.c.acquire(*both)
        self.set_policy([self.rule(**{'host-critical': 'allow'})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.end(self.c.acquire(self.gpu))
        held = self.c.acquire(self.sound)  # nobody's claim is broken by that
        with self.refused('DeviceClaimed', held.id, 'would lose its driver'):
            self.c.acquire(self.gpu)
        self.end(held)

    def unlink(self):
        self.kernel.unlink(f'{self.gpu.path}/consumer:{self.sound.name}')
        self.kernel.unlink(f'{self.sound.path}/supplier:{self.gpu.name}')
        self.kernel.remove_tree(f'/sys/devices/virtual/devlink/{self.gpu.name}--{self.sound.name}')

    def test_one_without_a_driver(self):
        self.host.change_driver(self.sound, None)
        self.before = self.host.binding()
        self.host.add_link(self.gpu, self.sound, 'available')
        self.end(self.c.acquire(self.gpu))

    def test_a_device_that_is_prepared(self):
        """Nobody takes it from its driver."""
        ready = self.host.add_device('0000:07:00.0', group=10, driver=VFIO)
        self.host.add_link(ready, self.sound, 'active')
        self.before = self.host.binding()
        harness.wait(lambda: self.c.seen('InterfacesAdded', harness.device_path(ready.name)), 'the daemon knows it')
        self.end(self.c.acquire(ready))

    def test_bad_input(self):
        """Links that lead nowhere, to strange names, or that are no links; and more than are shown."""
        k = self.kernel
        k.link(f'{self.gpu.path}/consumer:nowhere', '/sys/devices/nowhere')
        k.put(f'{self.gpu.path}/consumer:file', 'x')
        os.makedirs(f'{k.root}{self.gpu.path}/supplier:empty')
        strange = self.host.add_device('0000:09:00.0', group=12)
        self.host.add_link(self.gpu, strange)
        k.unlink(f'/sys/devices/virtual/devlink/{self.gpu.name}--{strange.name}/consumer')
        os.symlink(b'../../../\xff\n', f'{k.root}/sys/devices/virtual/devlink/{self.gpu.name}--{strange.name}/consumer'.encode())
        self.assertEqual(str(self.c.device(self.gpu)['Companions']), '')
        for i in range(20):
            other = self.host.add_device(f'0000:{0x20 + i:02x}:00.0', group=32 + i)
            self.host.add_link(self.gpu, other)
        self.assertEqual(str(self.c.device(self.gpu)['Companions']).count('consumer'), 16)
        self.host.add_link(self.gpu, self.sound, 'active')
        with self.refused('HostCritical', self.sound.name):
            self.c.acquire(self.gpu)


if __name__ == '__main__':
    harness.main()

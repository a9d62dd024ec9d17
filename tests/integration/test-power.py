#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A claimed device does not lose its power (D3cold), unless its rule says so: d3cold_allowed is 0 during the claim."""

import errno
import json
import os

import harness
from fake_kernel import NATIVE
from harness import VfiodTestCase, wait
from host import VFIO


class PowerTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.bridge = self.host.add_device('0000:00:1c.0', group=7, driver='pcieport', class_code=0x060400)
        self.gpu = self.host.add_device('0000:01:00.0', group=9, driver=VFIO, class_code=0x030000, parent=self.bridge)
        for device in (self.nic, self.gpu):
            self.set_allowed(device, 1)

    def begin(self, **terms):
        self.set_policy([self.rule(**terms)])
        self.start()
        self.c = self.client()

    def set_allowed(self, device, value):
        self.kernel.put(device.path + '/d3cold_allowed', f'{value}\n')

    def allowed(self, device):
        return self.kernel.get(device.path + '/d3cold_allowed').strip()

    def can_be_turned_off(self, device):
        os.makedirs(self.host.root + device.path + '/firmware_node/power_resources_D3hot')

    def written(self, device):
        """What was written that concerns the device, by attribute."""
        return [os.path.basename(path) + (' ' + text.strip() if path.endswith('d3cold_allowed') else '')
                for path, text in self.kernel.writes if path.startswith(device.path) or text.strip() == device.address]

    def test_during_the_claim(self):
        self.begin()
        claim = self.c.acquire(self.nic)
        self.assertEqual(self.allowed(self.nic), '0')
        record, = [json.loads(text) for text in self.slots()]
        self.assertTrue(record['members'][0]['restoreD3cold'])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.allowed(self.nic), '1')
        written = self.written(self.nic)
        # Between its driver and the vfio driver, which may put it to sleep at once.
        self.assertEqual(written[written.index('d3cold_allowed 0') - 1:][:3], ['unbind', 'd3cold_allowed 0', 'bind'])
        # Before its driver has it, which may not want D3cold: until Linux 6.5 the write would overrule that.
        self.assertLess(written.index('d3cold_allowed 1'), len(written) - 1 - written[::-1].index('bind'))

    def test_one_that_stays_on_its_driver_because_another_fails(self):
        other = self.host.add_device('0000:07:00.0', group=10, driver='e1000e')
        self.set_allowed(other, 1)
        self.begin()
        self.host.fail_binding(self.nic)
        with self.refused('BindFailed', self.nic.name):
            self.c.acquire(self.nic, other)
        wait(lambda: self.records() == [], 'everything is back')
        self.assertEqual((self.allowed(self.nic), self.nic.driver), ('1', 'e1000e'))
        self.assertEqual((self.allowed(other), other.driver), ('1', 'e1000e'))
        self.assertEqual([w for w in self.written(other) if 'd3cold' in w], [])

    def test_one_that_its_driver_does_not_leave(self):
        self.begin()
        self.kernel.fail('unbind', self.nic.address, errno.EIO)
        with self.refused('BindFailed', self.nic.name):
            self.c.acquire(self.nic)
        self.assertEqual([w for w in self.written(self.nic) if 'd3cold' in w], [])

    def test_on_a_driver_of_the_host_that_stays(self):
        gpu = self.host.add_device('0000:02:00.0', group=11, driver=NATIVE, class_code=0x030200)
        self.set_allowed(gpu, 1)
        self.can_be_turned_off(gpu)
        self.begin()
        claim = self.c.acquire(gpu)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual([w for w in self.written(gpu) if 'd3cold' in w], [])

    def test_a_rule_that_allows_it(self):
        self.begin(d3cold=True)
        claim = self.c.acquire(self.nic)
        self.assertEqual(self.allowed(self.nic), '1')
        claim.close()
        self.wait_gone(claim)
        self.assertNotIn('d3cold_allowed 1', self.written(self.nic))

    def test_one_that_must_not_lose_it_anyhow(self):
        self.set_allowed(self.nic, 0)
        self.begin()
        claim = self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.allowed(self.nic), '0')
        self.assertFalse([w for w in self.written(self.nic) if 'd3cold' in w])

    def test_on_its_vfio_driver_where_nothing_can_turn_it_off(self):
        self.begin()
        claim = self.c.acquire(self.gpu)
        self.assertEqual(self.allowed(self.gpu), '1')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual([w for w in self.written(self.gpu) if 'd3cold' in w], [])

    def turned_off(self, device):
        self.can_be_turned_off(device)
        self.begin()
        for _ in range(2):
            claim = self.c.acquire(self.gpu)
            self.assertEqual(self.allowed(self.gpu), '0')
            claim.close()
            self.wait_gone(claim)
            self.assertEqual(self.allowed(self.gpu), '1')
        self.assertNotIn('driver_override', self.written(self.gpu))

    def test_on_its_vfio_driver_where_it_can_be_turned_off(self):
        self.turned_off(self.gpu)

    def test_on_its_vfio_driver_where_its_bridge_can_be_turned_off(self):
        self.turned_off(self.bridge)

    def test_a_crash(self):
        self.begin()
        claim = self.c.acquire(self.nic)
        self.daemon.kill()
        self.start(keep_fds=True)
        claim.client = self.c = self.client()
        self.assertEqual((claim.state, self.allowed(self.nic)), ('held', '0'))
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.allowed(self.nic), '1')

    def test_a_crash_and_the_holder_goes(self):
        self.begin()
        claim = self.c.acquire(self.nic)
        self.daemon.kill()
        claim.close()
        self.assertEqual(self.allowed(self.nic), '0')
        self.start(keep_fds=True)
        wait(lambda: self.records() == [], 'everything is back')
        self.assertEqual((self.allowed(self.nic), self.nic.driver), ('1', 'e1000e'))

    def test_somebody_else_allows_it_meanwhile(self):
        self.begin()
        claim = self.c.acquire(self.nic)
        self.set_allowed(self.nic, 1)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.written(self.nic).count('d3cold_allowed 1'), 0)

    def test_it_cannot_be_written(self):
        self.begin()
        self.kernel.fail('d3cold_allowed', self.nic.address, errno.EIO)
        with self.refused('BindFailed', self.nic.name, 'losing its power', 'd3cold_allowed'):
            self.c.acquire(self.nic)
        wait(lambda: self.records() == [], 'everything is back')
        self.assertEqual((self.allowed(self.nic), self.nic.driver), ('1', 'e1000e'))

    def test_it_cannot_be_restored(self):
        self.begin()
        claim = self.c.acquire(self.nic)
        self.kernel.fail('d3cold_allowed', self.nic.address, errno.EIO)
        claim.close()
        self.wait_gone(claim)
        self.wait_logged('cannot set d3cold_allowed of ' + self.nic.name)
        self.assertEqual((self.c.device(self.nic)['State'], self.nic.driver), ('free', 'e1000e'))

    def test_devices_that_are_given_back(self):
        self.can_be_turned_off(self.bridge)
        self.begin()
        claim = self.c.acquire(self.nic, self.gpu)
        self.c.release_devices(claim, self.gpu)
        claim.close('device:' + self.gpu.name)
        wait(lambda: self.allowed(self.gpu) == '1', 'it may lose its power again')
        self.assertEqual(self.allowed(self.nic), '0')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.allowed(self.nic), '1')


if __name__ == '__main__':
    harness.main()

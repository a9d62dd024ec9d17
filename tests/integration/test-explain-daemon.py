#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a refusal teaches, to whom, and what it leaves behind."""

import harness
from harness import VfiodTestCase


class FloodTest(VfiodTestCase):
    """A client that asks often for what it may not have."""

    def log_lines(self, *words):
        self.log.seek(0)
        return [line for line in self.log.read().decode().splitlines() if all(word in line for word in words)]

    def test_refusals_are_counted_not_logged(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.set_policy([self.rule(device='0000:07:*')])
        self.start()
        c = self.client()
        for _ in range(200):
            with self.refused('AccessDenied'):
                c.acquire(nic)
        self.assertEqual(len(self.log_lines('Refused uid')), 5)
        # Who was refused so often gets nothing unseen.
        self.set_policy([self.rule()])
        c.manager('ReloadPolicy', 'a{sv}', {})
        c.acquire(nic).close()
        self.assertEqual(len(self.log_lines('got pci:0000:06:00.0')), 1)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(len(self.log_lines('195 more refusals of uid')), 1)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything at once, in an order that chance makes: claims, plans, releases, unplugs, failures of the kernel, crashes. In
the end, when the clients have closed what they had and an operator has lifted the quarantines, the host must be as it was.

The seed is in the test's name; more of them: VFIOD_SOAK_SEEDS=100-120 test-soak.py
"""

import collections
import contextlib
import errno
import os
import random

import dbus
from gi.repository import GLib

import harness
from harness import VfiodTestCase, wait
from host import VFIO

STEPS = 60
# What a client may hear; anything else is a fault of the daemon.
ANSWERS = {'AccessDenied', 'DeviceClaimed', 'DeviceQuarantined', 'GroupInUse', 'GroupNotViable', 'NoSuchDevice', 'BindFailed',
           'OpenFailed', 'DeviceGone', 'NodeMissing', 'TimedOut', 'NoSuchClaim', 'InvalidArgument', 'LimitExceeded', 'ShuttingDown'}
# What the bus says when the daemon was killed meanwhile.
LOST = {'org.freedesktop.DBus.Error.NoReply', 'org.freedesktop.DBus.Error.ServiceUnknown',
        'org.freedesktop.DBus.Error.NameHasNoOwner', 'org.freedesktop.DBus.Error.UnknownObject'}


class SoakTest(VfiodTestCase):
    def build(self):
        bridge = self.host.add_device('0000:00:1e.0', group=3, driver='pcieport', class_code=0x060400, reset='')
        layout = [('0000:05:00.0', 3, 'e1000e', bridge), ('0000:05:01.0', 3, None, bridge),
                  ('0000:06:00.0', 6, 'e1000e', None), ('0000:06:00.1', 6, VFIO, None),
                  ('0000:07:00.0', 7, VFIO, None), ('0000:08:00.0', 8, 'nvme', None), ('0000:09:00.0', 9, None, None)]
        self.devices = [self.plug(*entry) for entry in layout]
        self.layout = {entry[0]: entry for entry in layout}
        self.set_policy([self.rule(reset='optional', siblings='park')])
        self.before = self.host.binding()

    def plug(self, address, group, driver, parent):
        return self.host.add_device(address, group=group, driver=driver, parent=parent, reset='flr')

    def pick(self):
        return self.chance.choice([d for d in self.devices if d.present])

    # --- what may happen ------------------------------------------------------------------------------------------

    def do_acquire(self):
        names = {self.pick().name for _ in range(self.chance.choice((1, 1, 2, 3)))}
        options = self.chance.choice(({}, {}, {'backend': 'group'}, {'backend': 'iommufd'}))
        self.answers.append(self.client_now().acquire_later(*sorted(names), **options))

    def do_plan(self):
        self.expect(lambda: self.client_now().plan(self.pick()))

    def do_close(self):
        self.collect()
        if self.claims:
            claim = self.claims.pop(self.chance.randrange(len(self.claims)))
            claim.close()

    def do_close_a_part(self):
        self.collect()
        if self.claims:
            claim = self.chance.choice(self.claims)
            if claim.fds:
                claim.close(self.chance.choice(sorted(claim.fds)))

    def do_release(self):
        self.collect()
        if self.claims:
            self.expect(lambda: self.client_now().release(self.chance.choice(self.claims)))

    def do_unplug(self):
        device = self.pick()
        if not any(device is gone for gone, _ in self.removals):
            self.removals.append((device, self.host.remove_device(device)))

    def do_replug(self):
        for device, thread in list(self.removals):
            if not thread.is_alive():
                self.removals.remove((device, thread))
                self.devices.remove(device)
                self.devices.append(self.plug(*self.layout[device.address]))

    def do_fault(self):
        attribute = self.chance.choice(('bind', 'unbind', 'driver_override', 'reset', 'drivers_probe'))
        address = self.chance.choice((None, self.pick().address))
        if self.chance.random() < 0.3:
            self.kernel.ignore(attribute, address, times=1)
        else:
            self.kernel.fail(attribute, address, self.chance.choice((errno.EBUSY, errno.EIO, errno.EINVAL)), times=1)

    def do_crash(self):
        self.daemon.kill()
        self.start()

    def do_stop(self):
        self.assertEqual(self.daemon.stop(), 0)
        self.start()

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def client_now(self):
        return self.chance.choice(self.clients)

    def check_error(self, e):
        name = e.get_dbus_name()
        if name not in LOST:
            self.assertIn(name.removeprefix(harness.ERROR), ANSWERS, e.get_dbus_message())

    def expect(self, call):
        try:
            call()
        except dbus.DBusException as e:
            self.check_error(e)

    def collect(self):
        for answer in [a for a in self.answers if a.done]:
            self.answers.remove(answer)
            if answer.error:
                self.check_error(answer.error)
            else:
                self.claims.append(answer.value[0])

    def lift_quarantines(self):
        """As an operator does who has mended what was wrong; true when there is none (any more)."""
        c = self.clients[0]
        ends = True
        for name in self.records():
            claim = harness.Claim(c, f'{harness.ROOT_PATH}/claim/{name.removesuffix(".json")}', {}, [])
            if claim.state == 'quarantined':
                c.release(claim)
            ends = False
        return ends

    def soak(self, seed):
        self.chance = random.Random(seed)
        self.build()
        self.start()
        self.clients = [self.client() for _ in range(3)]
        self.claims, self.answers, self.removals = [], [], []
        steps = ([self.do_acquire] * 8 + [self.do_close] * 6 + [self.do_close_a_part] * 2 + [self.do_release] * 2
                 + [self.do_plan] * 2 + [self.do_unplug] + [self.do_replug] * 2 + [self.do_fault] * 2 + [self.do_crash]
                 + [self.do_stop])
        for _ in range(STEPS):
            self.chance.choice(steps)()
            if self.chance.random() < 0.5:
                wait(lambda: all(a.done for a in self.answers), 'all are answered')
            self.collect()
        wait(lambda: all(a.done for a in self.answers), 'all are answered')
        self.collect()
        self.kernel.heal()
        for claim in self.claims:
            claim.close()
        wait(lambda: not any(thread.is_alive() for _, thread in self.removals), 'what was pulled is out')
        self.do_replug()
        wait(self.lift_quarantines, 'every claim ends')
        # Undoing what an unplug interrupted may go on in the kernel when the claim has ended.
        with contextlib.suppress(AssertionError):
            wait(lambda: self.host.binding() == self.before, 'the host is as it was')
        self.assertEqual(self.host.binding(), self.before)
        for device in self.devices:
            wait(lambda: self.clients[0].device(device)['State'] == 'free', f'{device} is free')
            self.assertEqual(self.clients[0].device(device)['Driver'], device.driver or '')


def add_seeds():
    first, _, last = os.environ.get('VFIOD_SOAK_SEEDS', '1-4').partition('-')
    for seed in range(int(first), int(last or first) + 1):
        def run(self, seed=seed):
            if os.getuid() != 0:
                self.skipTest('only root lifts quarantines')
            self.soak(seed)
        setattr(SoakTest, f'test_seed_{seed}', run)


add_seeds()

class DescriptorsTest(VfiodTestCase):
    def test_nothing_is_left_of_two_hundred_claims(self):
        ready = self.host.add_device('0000:06:00.0', group=6, driver=VFIO)
        nic = self.host.add_device('0000:07:00.0', group=7, driver='e1000e')
        denied = self.host.add_device('0000:08:00.0', group=8, driver=VFIO)
        broken = self.host.add_device('0000:09:00.0', group=9, driver='e1000e')
        self.set_policy([self.rule(device=[d.address for d in (ready, nic, broken)])])
        self.host.fail_binding(broken)
        before = self.host.binding()
        self.start()
        c = self.client()
        flat = None
        for i in range(200):
            backend = ('iommufd', 'group')[i % 2]
            kind = i % 5
            if kind < 2:
                claim = c.acquire(nic if kind == 1 and i < 100 else ready, backend=backend)
                claim.close()
                self.wait_gone(claim)
            elif kind == 2:
                with self.refused('AccessDenied'):
                    c.acquire(denied, backend=backend)
            elif kind == 3:
                with self.refused('BindFailed'):
                    c.acquire(broken, ready, backend=backend)
            else:
                self.kernel.fail('open', None, errno.EIO, times=1,
                                 data=self.host.cdev(ready) if backend == 'iommufd' else '/dev/vfio/6')
                with self.refused('OpenFailed'):
                    c.acquire(ready, backend=backend)
            if i == 19:  # what is made once is there
                flat = self.files()
        # An iommufd is kept ready for a second.
        wait(lambda: GLib.timeout_add(50, lambda: False) and self.files() <= flat, 'nothing is left')
        self.assertEqual(self.host.binding(), before)

    def files(self):
        """How many of each kind."""
        return collections.Counter(name.split(':')[0] for name in self.daemon.files())


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The number of virtual functions: who may change it, what stands in the way, and what a crash leaves."""

import contextlib
import errno
import os
import pathlib

import harness
from harness import NOBODY, Pending, device_path, needs_root, wait
from host import VFIO
from varlink_client import VarlinkTestCase


class FunctionsTestCase(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        watch = harness.DirectoryWatch(f'{self.directory}/state')  # the note
        self.addCleanup(watch.close)
        self.pf = self.host.add_sriov(self.host.add_device('0000:06:00.0', group=8, driver='ixgbe'), group=100)
        self.plain = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')

    def begin(self):
        self.start()
        self.c = self.client()

    def set(self, count, device=None, **options):
        self.c.manager('SetVirtualFunctions', 'sua{sv}', getattr(device or self.pf, 'name', device), count, options)

    def set_later(self, count, client=None):
        pending, client = Pending(), client or self.c
        client.connection.call_async(harness.NAME, harness.ROOT_PATH, harness.NAME + '.Manager', 'SetVirtualFunctions',
                                     'sua{sv}', (self.pf.name, count, {}), pending.reply, pending.fail,
                                     harness.CALL_TIMEOUT)
        return pending

    def names(self):
        paths = self.c.get(device_path(self.pf.name), 'Device', 'VirtualFunctions')
        return [str(p) for p in paths]

    def written(self, attribute):
        return [text for path, text in self.kernel.writes if os.path.basename(path) == attribute]

    def note(self):
        with contextlib.suppress(FileNotFoundError):
            return pathlib.Path(self.directory, 'state', 'virtual-functions').read_text()

    def wait_end(self):
        """The note goes last."""
        wait(lambda: self.note() is None, 'the change is over')

    def assert_refused_later(self, pending, error):
        wait(lambda: pending.done, 'the answer')
        self.assertEqual(pending.error.get_dbus_name(), harness.ERROR + error)


class CountTest(FunctionsTestCase):
    def test_up_and_down(self):
        self.begin()
        self.assertEqual(self.names(), [])
        self.set(2)
        vf = self.pf.functions
        self.assertEqual(self.names(), [device_path(f.name) for f in vf])  # at once, whatever udev does
        shown = self.c.device(vf[1])
        self.assertEqual((shown['PhysicalFunction'], shown['VirtualFunctionsMax']), (device_path(self.pf.name), 0))
        self.assertEqual(shown['Parent'], device_path(self.pf.name))
        self.assertEqual(self.c.device(self.pf)['PhysicalFunction'], '/')
        self.assertEqual(self.c.device(self.pf)['VirtualFunctionsMax'], 4)
        self.assertEqual(vf[0].driver, 'ixgbevf')
        self.set(3)
        self.assertEqual(len(self.names()), 3)
        self.set(3)  # nothing is done
        self.assertEqual(self.written('sriov_numvfs'), ['2', '0', '3'])
        self.assertEqual(self.written('sriov_drivers_autoprobe'), [])
        self.set(0)
        self.assertEqual(self.names(), [])
        self.assertIsNone(self.note())
        self.wait_logged('changes the number of virtual functions', self.pf.name, 'to 2')
        self.wait_logged(self.pf.name, 'has 3 virtual functions now (before: 2)')

    def test_without_drivers(self):
        self.begin()
        self.set(2, autoprobe=False)
        self.assertEqual([f.driver for f in self.pf.functions], [None, None])
        self.set(1, autoprobe=True)
        self.assertEqual([f.driver for f in self.pf.functions], ['ixgbevf'])
        self.assertEqual(self.written('sriov_drivers_autoprobe'), ['0', '1'])

    def test_over_varlink(self):
        self.begin()
        with self.peer() as p:
            p.call('SetVirtualFunctions', {'device': self.pf.address, 'count': 2})
            self.assertEqual(len(self.names()), 2)
            for bad in (-1, 1 << 32):
                with self.fails('InvalidArgument', 'count'):
                    p.call('SetVirtualFunctions', {'device': self.pf.name, 'count': bad})
            with self.fails('InvalidArgument', '4 virtual functions at most', device=self.pf.name):
                p.call('SetVirtualFunctions', {'device': self.pf.name, 'count': 5})
            with self.fails('org.varlink.service.InvalidParameter', parameter='autoprobe'):
                p.call('SetVirtualFunctions', {'device': self.pf.name, 'count': 1, 'autoprobe': 'no'})
            p.call('SetVirtualFunctions', {'device': self.pf.name, 'count': 2, 'autoprobe': False})
            shown = next(p.stream('List', {'device': self.pf.functions[0].name}))['device']
            self.assertEqual(shown['physicalFunction'], self.pf.name)
        self.assertEqual(len(self.names()), 2)

    @needs_root
    def test_only_by_root(self):
        self.begin()
        status, output = self.busctl('call', harness.NAME, harness.ROOT_PATH, harness.NAME + '.Manager',
                                     'SetVirtualFunctions', 'sua{sv}', self.pf.name, '2', '0', user=NOBODY)
        self.assertNotEqual(status, 0)
        self.assertIn('only root', output)
        self.assertEqual(self.written('sriov_numvfs'), [])

    def test_bad_requests(self):
        self.begin()
        with self.refused('NoVirtualFunctions', self.plain.name, 'no SR-IOV'):
            self.set(1, self.plain)
        with self.refused('NoSuchDevice'):
            self.set(1, 'pci:0000:99:00.0')
        with self.refused('InvalidName'):
            self.set(1, '../../etc/passwd')
        with self.refused('InvalidArgument', '4 virtual functions at most', '5 were requested'):
            self.set(5)
        with self.refused('InvalidArgument'):
            self.set(2 ** 32 - 1)
        with self.refused('InvalidArgument', 'autoprobe'):
            self.set(1, autoprobe='yes')
        with self.refused('UnknownOption', 'speed'):
            self.set(1, speed=1)
        self.assertEqual(self.written('sriov_numvfs'), [])
        self.set(1)
        with self.refused('NoVirtualFunctions', 'a virtual function itself'):
            self.set(1, self.pf.functions[0])

    def test_drivers_that_make_none(self):
        self.begin()
        self.pf.makes_functions = False
        with self.refused('NoVirtualFunctions', 'ixgbe'):
            self.set(1)
        self.host.change_driver(self.pf, None)
        wait(lambda: not self.c.device(self.pf)['Driver'], 'the driver is gone')
        with self.refused('NoVirtualFunctions', 'no driver'):
            self.set(1)
        self.assertIsNone(self.note())

    def test_kernel_makes_none(self):
        self.begin()
        self.set(2)
        self.kernel.fail('sriov_numvfs', self.pf.address, errno.ENOMEM, data='3')
        with self.refused('VirtualFunctionsFailed', 'had 2, and has 0 now'):
            self.set(3)
        self.assertEqual(self.names(), [])
        self.wait_logged('was not changed to 3', 'VirtualFunctionsFailed')
        self.kernel.ignore('sriov_numvfs', self.pf.address, data='1')
        with self.refused('VirtualFunctionsFailed', 'has 0 now'):
            self.set(1)


class UseTest(FunctionsTestCase):
    """The kernel protects nobody who has a virtual function."""

    def setUp(self):
        super().setUp()
        self.begin()
        self.set(2)
        self.vf = list(self.pf.functions)
        self.kernel.writes.clear()

    def assert_kept(self):
        self.assertEqual(self.written('sriov_numvfs'), [])
        self.assertEqual(self.pf.functions, self.vf)

    def test_claimed(self):
        claim = self.c.acquire(self.vf[1])
        for count in (0, 1, 4):
            with self.refused('DeviceClaimed', self.pf.name, self.vf[1].name, claim.id):
                self.set(count)
        with self.refused('DeviceClaimed'):
            self.set(2, autoprobe=False)
        self.set(2)  # as many as there are
        self.assert_kept()
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.set(0)
        self.assertEqual(self.names(), [])

    def test_physical_function_claimed(self):
        self.set(0)
        self.kernel.writes.clear()
        claim = self.c.acquire(self.pf)
        with self.refused('DeviceClaimed', claim.id):
            self.set(2)
        self.assertEqual(self.written('sriov_numvfs'), [])
        claim.close()
        self.wait_gone(claim)
        self.set(2)

    def test_quarantined(self):
        self.kernel.fail('reset', self.vf[0].address, errno.ENOTTY)
        claim = self.c.acquire(self.vf[0])
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'the quarantine')
        with self.refused('DeviceQuarantined', self.pf.name, self.vf[0].name):
            self.set(0)
        self.assert_kept()

    def test_used_by_the_host(self):
        self.host.add_interface(f'{self.vf[1].path}/net/eth7')
        self.host.set_default_route('eth7')
        with self.refused('HostCritical', self.pf.name, self.vf[1].name, 'eth7'):
            self.set(0, autoprobe=True)
        self.assert_kept()
        self.assertEqual(self.written('sriov_drivers_autoprobe'), [])

    def test_opened_without_vfiod(self):
        self.host.change_driver(self.vf[0], VFIO)
        self.kernel.set_enable(self.vf[0], 1)
        with self.refused('HostCritical', self.vf[0].name, 'without vfiod'):
            self.set(0)
        self.assert_kept()
        self.kernel.set_enable(self.vf[0], 0)
        self.set(0)


class RuleTest(FunctionsTestCase):
    def test_by_physical_function(self):
        self.set_policy([{'name': 'functions', 'effect': 'allow', 'who': {'user': os.getuid()},
                          'what': {'physical-function': '06:00.0'}}])
        self.begin()
        self.set(2)
        for function in self.pf.functions:
            claim = self.c.acquire(function)
            claim.close()
            self.wait_gone(claim)
        for device in (self.pf, self.plain):
            with self.refused('AccessDenied', 'what.physical-function requires', 'found none'):
                self.c.acquire(device)
        other = self.host.add_device('0000:08:00.0', group=10, driver='ixgbe')
        stranger = self.host.add_device('0000:08:10.0', group=11, driver='ixgbevf', physfn=other)
        wait(lambda: device_path(stranger.name) in self.c.objects(), 'vfiod has seen it')
        with self.refused('AccessDenied', f'found {other.name}'):
            self.c.acquire(stranger)


class UnderWayTest(FunctionsTestCase):
    def hold(self, count, before=0):
        """A change that the kernel is at."""
        if before:
            self.set(before)
        self.gate = self.kernel.hold('sriov_numvfs', self.pf.address)
        pending = self.set_later(count)
        wait(lambda: self.gate.entered, 'the kernel is at it')
        return pending

    def test_nobody_gets_what_may_go(self):
        self.begin()
        pending = self.hold(0, before=2)
        vf = list(self.pf.functions)
        with self.refused('DeviceBusy', vf[0].name, self.pf.name):
            self.c.acquire(vf[0])
        with self.refused('DeviceBusy', self.pf.name):
            self.c.acquire(self.pf)
        with self.refused('DeviceBusy', self.pf.name):
            self.set(1)
        with self.refused('DeviceBusy'):
            self.set(2)  # as many as there are, but not for long
        self.c.acquire(self.plain).close()  # others do
        self.assertFalse(pending.done)
        self.gate.let_go()
        wait(lambda: pending.done, 'the answer')
        self.assertIsNone(pending.error)
        self.assertEqual(self.names(), [])

    def test_caller_leaves(self):
        self.begin()
        other = self.client()
        self.gate = self.kernel.hold('sriov_numvfs', self.pf.address)
        self.set_later(2, other)
        wait(lambda: self.gate.entered, 'the kernel is at it')
        other.close()
        self.gate.let_go()
        self.wait_end()
        self.wait_logged('has 2 virtual functions now')
        self.assertEqual(len(self.names()), 2)

    def test_kernel_takes_long(self):
        self.start('--worker-timeout=1')
        self.c = self.client()
        pending = self.hold(2)
        self.assert_refused_later(pending, 'TimedOut')
        with self.refused('DeviceBusy'):
            self.c.acquire(self.pf)
        self.assertIn(self.pf.name, self.note())
        self.gate.let_go()
        self.wait_end()
        self.wait_logged('has 2 virtual functions now')
        self.assertEqual(len(self.names()), 2)

    def test_unplugged(self):
        self.begin()
        self.kernel.before('sriov_numvfs', lambda: self.kernel.remove(self.pf), self.pf.address)
        with self.refused('DeviceGone'):
            self.set(2)
        # The kernel announces it after that.
        wait(lambda: self.c.seen('InterfacesRemoved', device_path(self.pf.name)), 'the removal is announced')
        with self.refused('NoSuchDevice'):
            self.set(2)

    def test_killed(self):
        self.begin()
        self.hold(3, before=2)  # the write of 0
        self.daemon.kill()
        self.assertEqual(self.note(), f'{self.pf.name} 3\n')
        self.gate.let_go()
        wait(lambda: not self.pf.functions, 'the write is over')
        self.begin()
        self.wait_end()
        self.wait_logged(self.pf.name, 'was ended while it changed', 'to 3', 'There are 0 now')
        self.set(3)
        self.assertEqual(len(self.names()), 3)

    def test_killed_at_the_end(self):
        self.begin()
        self.hold(3)
        self.daemon.kill()
        self.gate.let_go()
        wait(lambda: len(self.pf.functions) == 3, 'the write is over')
        self.begin()
        self.wait_end()
        self.wait_logged('the 3 virtual functions are there')
        self.assertEqual(self.log_lines('There are'), [])

    def test_note_that_nobody_wrote(self):
        path = pathlib.Path(self.directory, 'state', 'virtual-functions')
        path.write_text(f'\n\nnonsense\n{self.pf.name}\n{self.pf.name} 99999999\npci:0000:99:00.0 4\n../.. 3\n'
                        f'{self.pf.name} 0\n{self.pf.name} 1')
        self.begin()
        self.wait_end()
        self.wait_logged('a line that cannot be read')
        self.set(1)


class DeclaredTest(FunctionsTestCase):
    """What the policy declares is made once in a boot."""

    def declare(self, *elements):
        self.set_policy([self.rule()], host={'virtual-functions': list(elements)})

    def setUp(self):
        super().setUp()
        self.declare({'device': '06:00.0', 'count': 2, 'autoprobe': False})
        self.kernel.put('/proc/sys/kernel/random/boot_id', '11111111-1111-1111-1111-111111111111\n')

    def warnings(self):
        return list(self.c.get(harness.ROOT_PATH, 'Manager', 'VirtualFunctionsWarnings'))

    def reload(self):
        self.c.manager('ReloadPolicy', 'a{sv}', {})

    def wait_made(self, count):
        wait(lambda: len(self.pf.functions) == count and self.note() is None, 'the functions are made')
        wait(lambda: len(self.names()) == count and not self.warnings(), 'vfiod has seen them')

    def restart(self):
        self.assertEqual(self.daemon.stop(), 0)
        self.begin()

    def test_made_at_the_start_and_only_then(self):
        self.begin()
        self.wait_made(2)
        self.assertEqual([f.driver for f in self.pf.functions], [None, None])
        self.wait_logged('50-test.json', 'makes 2 virtual functions of', self.pf.name)
        self.set(0)
        warning, = self.warnings()
        for word in ('50-test.json:', self.pf.name, 'has 0 virtual functions', '2 are declared', 'since the last boot'):
            self.assertIn(word, warning)
        self.restart()
        self.reload()
        self.assertEqual(self.names(), [])  # as the operator has it
        self.assertEqual(self.daemon.stop(), 0)
        self.kernel.put('/proc/sys/kernel/random/boot_id', '22222222-2222-2222-2222-222222222222\n')
        self.begin()
        self.wait_made(2)
        self.assertEqual(self.written('sriov_numvfs'), ['2', '0', '2'])

    def test_a_redeemed_ticket_leaves_no_gap(self):
        """Between the reservation and the claim the device is never free: what waits for the end of a claim goes on waiting."""
        self.set_policy([self.rule()])
        self.begin()
        _, ticket, _ = self.c.manager('Reserve', 'sa{sv}', self.pf.name, {})
        self.declare({'device': '06:00.0', 'count': 2})
        self.reload()
        claim = self.c.acquire(ticket=ticket)
        self.assertEqual(self.written('sriov_numvfs'), [])
        claim.close()
        self.wait_made(2)

    def test_set_before_it_was_declared(self):
        self.set_policy([self.rule()])
        self.begin()
        self.set(1)
        self.declare({'device': '0000:06:*', 'count': 2})
        self.reload()
        warning, = self.warnings()
        self.assertIn('has 1 virtual functions, and 2 are declared', warning)
        self.assertEqual(self.written('sriov_numvfs'), ['1'])

    def test_made_by_somebody_else(self):
        with self.kernel.changed:
            self.kernel._write_numvfs(self.pf, 1)
        self.begin()
        warning, = self.warnings()
        self.assertIn('vfiod does not change an existing number', warning)
        self.wait_logged('50-test.json', 'are not made', 'vfiod does not change an existing number')
        self.assertEqual(len(self.names()), 1)
        with self.kernel.changed:
            self.kernel._write_numvfs(self.pf, 0)
        wait(lambda: not self.names(), 'it is gone')
        self.reload()
        self.wait_made(2)

    def test_driver_comes_late(self):
        self.host.change_driver(self.pf, None)
        self.begin()
        warning, = self.warnings()
        self.assertIn('no driver yet', warning)
        self.host.change_driver(self.pf, 'ixgbe')
        self.wait_made(2)

    def test_device_comes_late(self):
        self.declare({'device': '0000:0a:00.0', 'count': 1})
        self.begin()
        warning, = self.warnings()
        self.assertIn('there is no device pci:0000:0a:00.0', warning)
        self.pf = self.host.add_device('0000:0a:00.0', group=20)
        self.host.add_sriov(self.pf, group=120)
        self.host.change_driver(self.pf, 'ixgbe')
        self.wait_made(1)

    def test_claimed_at_that_time(self):
        self.set_policy([self.rule()])
        self.begin()
        claim = self.c.acquire(self.pf)
        self.declare({'device': '06:00.0', 'count': 2})
        self.reload()
        warning, = self.warnings()
        self.assertIn('on this driver', warning)
        self.assertEqual(self.log_lines('are not made'), [])
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.wait_made(2)  # when it is back on its driver

    def test_errors(self):
        self.declare({'device': '06:00.0', 'count': 5}, {'device': '07:00.0', 'count': 1},
                     {'device': '0000:*', 'count': 1})
        self.begin()
        self.wait_end()
        warnings = self.warnings()
        self.assertEqual(len(self.log_lines('are not made')), 2)
        self.assertEqual(len(warnings), 2)
        self.assertIn('4 virtual functions at most', warnings[0])
        self.assertIn('no SR-IOV', warnings[1])
        self.assertEqual(self.written('sriov_numvfs'), [])

    def test_killed_while_it_makes_them(self):
        gate = self.kernel.hold('sriov_numvfs', self.pf.address)
        self.begin()
        wait(lambda: gate.entered, 'the kernel is at it')
        self.daemon.kill()
        gate.let_go(error=errno.EIO)
        self.begin()
        self.wait_made(2)

    @needs_root
    def test_warnings_are_for_root(self):
        self.declare({'device': '0000:99:00.0', 'count': 1})
        self.begin()
        self.assertEqual(len(self.warnings()), 1)
        status, output = self.busctl('get-property', harness.NAME, harness.ROOT_PATH, harness.NAME + '.Manager',
                                     'VirtualFunctionsWarnings', user=NOBODY)
        self.assertEqual((status, output.strip()), (0, 'as 0'))


if __name__ == '__main__':
    harness.main()

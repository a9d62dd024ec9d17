#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices without an IOMMU: who gets them, what he gets, what becomes of the kernel's switch, and what is written down.

The daemon of these tests has no capability of its own that the pretended kernel would ask for: what the real one asks
is shown in tests/vm/cases/noiommu."""

import errno
import json
import os
import pathlib
import select
import signal

import harness
from fake_kernel import NOIOMMU_PARAMETER
from harness import ROOT_PATH, VfiodTestCase, wait
from host import VFIO

CAP_SYS_RAWIO = 17
REASON = 'DPDK on a machine that has no IOMMU'


class NoiommuTestCase(VfiodTestCase):
    host_options = {'noiommu': False}
    mode = 'managed'

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', driver='e1000e')
        self.other = self.host.add_device('0000:07:00.0', driver='e1000e')
        self.allow(self.mode)
        self.before = self.host.binding()

    def allow(self, mode, waive=True, **rule):
        noiommu = {'reason': REASON, **({'waive-cap-sys-rawio': True} if waive else {})}
        self.set_policy([self.rule(device=[self.nic.address, self.other.address], noiommu=noiommu, **rule)],
                        **({'host': {'noiommu': mode}} if mode else {}))

    def parameter(self):
        return self.kernel.get(NOIOMMU_PARAMETER).strip()

    def note(self):
        return os.path.exists(f'{self.directory}/state/noiommu-enabled')

    def acquire(self, client, device=None, **options):
        return client.acquire(device or self.nic, backend='noiommu', **options)

    def taints(self, client):
        return client.get(ROOT_PATH, 'Manager', 'Taints')

    def deeds(self, client):
        return [t for t in self.taints(client) if t['kind'] == 'noiommu-claim']


class ClaimTest(NoiommuTestCase):
    def n_group_files(self):
        return sum('noiommu' in name for name in self.daemon.files())

    def test_everybody_hears_of_it(self):
        self.start()
        c, path = self.client(), harness.device_path(self.nic.name)
        claim = self.acquire(c)
        wait(lambda: c.seen('PropertiesChanged', path, Claim=claim.path), 'the claim is announced')
        wait(lambda: c.seen('PropertiesChanged', path, State='claimed'), 'its state is announced')
        claim.close()
        wait(lambda: c.seen('PropertiesChanged', path, State='free', Claim='/'), 'its end is announced')

    def test_the_whole_life(self):
        self.start()
        c = self.client()
        claim = self.acquire(c)
        self.assertEqual(sorted(claim.fds), [f'device:{self.nic.name}', 'lifeline'])
        self.assertEqual(claim.result['backend'], 'noiommu')
        self.assertEqual((self.parameter(), self.note()), ('Y', True))
        self.assertEqual(self.nic.driver, 'vfio-pci')
        self.assertEqual(self.nic.enable, 1)
        # Nothing of the group or the container stays open with the daemon or its worker.
        self.assertFalse(self.kernel.nodes.is_open('/dev/vfio/vfio'))
        wait(lambda: self.n_group_files() == 0, 'the daemon closes what it has handed out')
        self.assertEqual(c.get(claim.path, 'Claim', 'Groups'), [])

        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)
        self.assertEqual((self.parameter(), self.note(), self.nic.resets), ('N', False, 1))

    def test_the_device_outlives_the_lifeline(self):
        self.start()
        c = self.client()
        claim = self.acquire(c)
        claim.close('lifeline')
        wait(lambda: claim.state == 'draining', 'the claim drains')
        self.assertEqual((self.parameter(), self.nic.driver, self.nic.resets), ('Y', 'vfio-pci', 0))
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def workers_with_the_node(self):
        return [pid for pid in self.daemon.children() for name in harness.files_of(pid) if '/dev/vfio/noiommu-' in name]

    def test_the_last_close_is_in_a_worker(self):
        # It may reset the device, which can sleep: neither in the daemon nor in the bus, should the client die before
        # it takes the reply.
        self.start()
        claim = self.acquire(self.client())
        wait(lambda: self.n_group_files() == 0, 'the daemon closes what it has handed out')
        self.assertEqual(len(self.workers_with_the_node()), 1)
        claim.close(f'device:{self.nic.name}')
        self.assertEqual(len(self.workers_with_the_node()), 1)
        self.assertEqual((claim.state, self.nic.resets), ('held', 0))
        claim.close('lifeline')
        self.wait_gone(claim)
        self.assertEqual(self.workers_with_the_node(), [])
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_the_worker_with_the_copy_is_killed(self):
        self.start()
        claim = self.acquire(self.client())
        pid = int(self.workers_with_the_node()[0])
        fd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([fd], [], [], harness.WAIT_TIMEOUT)
        os.close(fd)
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_only_by_name(self):
        self.start()
        c = self.client()
        with self.refused('NoIommuGroup'):
            c.acquire(self.nic)
        self.assertEqual((self.parameter(), self.deeds(c)), ('N', []))
        self.assert_untouched(self.before)

    def test_never_together(self):
        self.start()
        with self.refused('InvalidArgument', 'must be claimed alone'):
            self.client().acquire(self.nic, self.other, backend='noiommu')
        self.assert_untouched(self.before)

    def test_a_device_with_a_group_is_none(self):
        grouped = self.host.add_device('0000:08:00.0', group=8, driver='vfio-pci')
        self.set_policy([self.rule(device=grouped.address, noiommu={'reason': REASON})], host={'noiommu': 'managed'})
        self.start()
        with self.refused('BackendUnavailable', 'IOMMU group 8'):
            self.client().acquire(grouped, backend='noiommu')

    def test_one_owner(self):
        self.start()
        c = self.client()
        self.acquire(c)
        with self.refused('DeviceClaimed'):
            self.acquire(c)

    def test_a_prepared_device(self):
        """On its vfio driver already, by an administrator who has turned the switch on and off again."""
        self.kernel.put(NOIOMMU_PARAMETER, 'Y\n')
        self.host.change_driver(self.nic, 'vfio-pci')
        self.kernel.put(NOIOMMU_PARAMETER, 'N\n')
        before = self.host.binding()
        self.start()
        c = self.client()
        self.assertFalse(dict(c.get(ROOT_PATH, 'Manager', 'Kernel'))['iommu'])
        claim = self.acquire(c)
        self.assertEqual((self.parameter(), self.nic.enable), ('Y', 1))
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(before)
        self.assertEqual((self.parameter(), self.nic.resets), ('N', 1))

    def test_a_prepared_device_that_is_in_use(self):
        self.kernel.put(NOIOMMU_PARAMETER, 'Y\n')
        self.host.change_driver(self.nic, 'vfio-pci')
        fd = self.host.hold_node('/dev/vfio/noiommu-900')
        self.start()
        with self.refused('GroupInUse', 'noiommu-900'):
            self.acquire(self.client())
        os.close(fd)
        self.acquire(self.client())

    def test_pulled_out(self):
        self.start()
        c = self.client()
        claim = self.acquire(c)
        self.host.remove_device(self.nic)
        wait(lambda: claim.state == 'draining', 'the claim ends')
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.parameter() == 'N', 'it is off')

    def test_a_kernel_that_does_not_come_back(self):
        gate = self.kernel.hold('open', data='/dev/vfio/noiommu-900')
        self.start('--worker-timeout=1')
        c = self.client()
        with self.refused('TimedOut'):
            self.acquire(c)
        # Quarantined, and the switch is off: what comes back late finds the door shut.
        self.assertEqual((c.device(self.nic)['State'], self.parameter(), self.note()), ('quarantined', 'N', False))
        gate.let_go()

    def test_a_failed_open_undoes_all(self):
        self.kernel.fail('ioctl', data='/dev/vfio/noiommu-900', error=errno.EPERM)
        self.start()
        c = self.client()
        with self.refused('OpenFailed', 'CAP_SYS_RAWIO'):
            self.acquire(c)
        self.assert_untouched(self.before)
        self.kernel.fail('open', data='/dev/vfio/noiommu-900', error=errno.EPERM, times=1)
        with self.refused('OpenFailed', 'DeviceAllow=', '/dev/vfio/noiommu-900'):  # it has the capability
            self.acquire(c)
        self.assert_untouched(self.before)
        self.assertEqual((self.parameter(), self.note()), ('N', False))

    def test_a_container_that_is_none(self):
        self.kernel.iommufd_container = True
        grouped = self.host.add_device('0000:08:00.0', group=8, driver='vfio-pci')
        self.set_policy([self.rule(device=grouped.address),
                         self.rule(name='raw', device=self.nic.address,
                                   noiommu={'reason': REASON, 'waive-cap-sys-rawio': True})],
                        host={'noiommu': 'managed'})
        before = self.host.binding()
        self.start()
        c = self.client()
        with self.refused('BackendUnavailable', 'is an iommufd'):
            self.acquire(c)
        with self.refused('BackendUnavailable', 'is an iommufd'):
            c.acquire(grouped, backend='group')
        self.assert_untouched(before)

    def test_a_failed_bind_undoes_all(self):
        self.host.fail_binding(self.nic)
        self.start()
        with self.refused('BindFailed'):
            self.acquire(self.client())
        self.assert_untouched(self.before)
        self.assertEqual((self.parameter(), self.note()), ('N', False))

    def test_a_switch_that_does_not_move(self):
        self.kernel.fail(os.path.basename(NOIOMMU_PARAMETER), error=errno.EROFS)
        self.start()
        with self.refused('Internal', 'enable_unsafe_noiommu_mode'):
            self.acquire(self.client())
        self.assert_untouched(self.before)
        self.assertEqual((self.parameter(), self.note()), ('N', False))


class PermissionTest(NoiommuTestCase):
    def test_off_by_default(self):
        for mode in (None, 'off'):
            self.allow(mode)
            self.start()
            with self.refused('NoiommuDisabled', 'host'):
                self.acquire(self.client())
            self.assertEqual(self.daemon.stop(), 0)
        self.daemon = None
        self.assert_untouched(self.before)

    def test_a_rule_must_say_so(self):
        self.set_policy([self.rule(device=self.nic.address)], host={'noiommu': 'managed'})
        self.start()
        with self.refused('BackendUnavailable', 'the rule does not allow the backend noiommu', '"noiommu": {"reason"'):
            self.acquire(self.client())

    def test_lockdown(self):
        self.kernel.put('/sys/kernel/security/lockdown', 'none [integrity] confidentiality\n')
        self.start()
        with self.refused('NoiommuDisabled', 'locked down'):
            self.acquire(self.client())
        self.kernel.put('/sys/kernel/security/lockdown', '[none] integrity confidentiality\n')
        self.acquire(self.client())

    def test_on_is_somebody_elses(self):
        self.allow('on')
        self.start()
        c = self.client()
        with self.refused('NoiommuDisabled', 'enable_unsafe_noiommu_mode', 'managed'):
            self.acquire(c)
        self.kernel.put(NOIOMMU_PARAMETER, 'Y\n')
        claim = self.acquire(c)
        self.assertFalse(self.note())
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.parameter(), 'Y')

    @harness.needs_root
    def test_not_after_a_start_without(self):
        self.allow(None)
        self.start()
        c = self.client()
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'Noiommu'), 'off')
        self.allow('managed')
        c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'Noiommu'), 'unavailable')
        with self.refused('NoiommuDisabled', 'CAP_SYS_RAWIO', 'restart'):
            self.acquire(c)
        with self.refused('NoiommuDisabled', 'CAP_SYS_RAWIO', 'restart'):
            c.plan(self.nic, backend='noiommu')
        self.assert_untouched(self.before)

    @harness.needs_root
    def test_given_up_when_it_is_turned_off(self):
        """The worker in reserve has the capability as well: it goes, too, and claims that are held stay."""
        def may_raise(pid):
            status = pathlib.Path(f'/proc/{pid}/status').read_text().split()
            return int(status[status.index('CapPrm:') + 1], 16) >> CAP_SYS_RAWIO & 1

        self.start()
        c = self.client()
        claim = self.acquire(c)
        old, = wait(lambda: len(workers := self.daemon.workers()) == 1 and workers, 'one is in reserve')
        self.assertEqual((may_raise(self.daemon.pid), may_raise(old)), (1, 1))
        self.allow('off')
        c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual((may_raise(self.daemon.pid), claim.state), (0, 'held'))
        self.allow('managed')
        c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('NoiommuDisabled', 'CAP_SYS_RAWIO', 'restart'):
            self.acquire(c, self.other)
        claim.close()
        self.wait_gone(claim)
        new = wait(lambda: old not in (workers := self.daemon.workers()) and workers, 'another is in reserve')
        self.assertEqual({may_raise(pid) for pid in new}, {0})
        self.assert_untouched(self.before)


    def test_turned_off_before_it_is_opened(self):
        gate = self.host.hold_binding(self.nic)
        self.start()
        c = self.client()
        pending = c.acquire_later(self.nic, backend='noiommu')
        wait(lambda: gate.entered, 'it is being bound')
        self.allow('off')
        self.client().manager('ReloadPolicy', 'a{sv}', {})
        gate.let_go()
        wait(lambda: pending.done, 'Acquire is answered')
        self.assertEqual(pending.error.get_dbus_name(), harness.NAME + '.Error.NoiommuDisabled')
        self.assert_untouched(self.before)
        self.assertEqual((self.parameter(), self.note(), self.deeds(c)), ('N', False, []))


class SwitchTest(NoiommuTestCase):
    def test_off_after_the_last(self):
        self.start()
        c = self.client()
        first, second = self.acquire(c), self.acquire(c, self.other)
        first.close()
        self.wait_gone(first)
        self.assertEqual((self.parameter(), self.note()), ('Y', True))
        second.close()
        self.wait_gone(second)
        wait(lambda: self.parameter() == 'N', 'it is off')
        self.assertFalse(self.note())

    def test_left_on_when_it_was(self):
        self.kernel.put(NOIOMMU_PARAMETER, 'Y\n')
        self.start()
        c = self.client()
        claim = self.acquire(c)
        self.assertFalse(self.note())
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.parameter(), 'Y')

    def test_the_note_comes_first(self):
        seen = []
        self.kernel.before(os.path.basename(NOIOMMU_PARAMETER), lambda: seen.append((self.note(), self.parameter())),
                           times=2)
        self.start()
        claim = self.acquire(self.client())
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.parameter() == 'N', 'it is off')
        self.assertEqual(seen, [(True, 'N'), (True, 'Y')])

    def test_killed_before_the_switch(self):
        """At the write the daemon dies; whether the kernel has done it by then or not, the next one puts it back."""
        for written in (False, True):
            gate = self.kernel.hold(os.path.basename(NOIOMMU_PARAMETER))
            self.start()
            self.client().acquire_later(self.nic, backend='noiommu')
            wait(lambda: gate.entered, 'the write begins')
            self.daemon.kill()
            gate.let_go(effect=written)
            wait(lambda: self.parameter() == ('Y' if written else 'N'), 'the write ends')
            self.assertTrue(self.note())
            self.start()
            self.assertEqual((self.parameter(), self.note()), ('N', False))
            self.assertEqual(self.daemon.stop(), 0)
            self.daemon = None

    def test_killed_while_held(self):
        self.start()
        c = self.client()
        claim = self.acquire(c)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.daemon.kill()
        self.start(keep_fds=True)
        self.assertEqual((self.parameter(), self.note(), claim.state), ('Y', True, 'held'))
        claim.close()
        self.wait_gone(claim)
        wait(lambda: self.parameter() == 'N', 'it is off')
        self.assertFalse(self.note())
        self.assert_untouched(self.before)

    def test_ended_while_nobody_watched(self):
        self.start()
        claim = self.acquire(self.client())
        self.daemon.kill()
        claim.close()
        self.start()
        wait(lambda: self.records() == [], 'the claim is over')
        wait(lambda: self.parameter() == 'N', 'it is off')
        self.assert_untouched(self.before)

    def test_notes_of_others(self):
        """Of an earlier boot: not ours to undo. Unreadable: only we write it, so it is."""
        note = pathlib.Path(f'{self.directory}/state/noiommu-enabled')
        for text, parameter in (('00000000-0000-0000-0000-000000000000\n', 'Y'), ('\0nonsense', 'N')):
            self.kernel.put(NOIOMMU_PARAMETER, 'Y\n')
            note.write_text(text)
            self.start()
            self.assertEqual((self.parameter(), self.note()), (parameter, False))
            self.assertEqual(self.daemon.stop(), 0)
            self.daemon = None


class LedgerTest(NoiommuTestCase):
    def test_a_claim_is_in_it_and_stays(self):
        self.start()
        c = self.client()
        self.assertEqual(self.taints(c), [])
        claim = self.acquire(c, reason='a benchmark')
        deed, = self.deeds(c)
        self.assertEqual((deed['uid'], deed['device'], deed['weakens']), (os.getuid(), self.nic.name, True))
        self.assertEqual(deed['reason'], REASON)
        self.assertIn('50-test.json', deed['rule'])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.deeds(c), [deed])
        # Once more is the same deed.
        self.acquire(c).close()
        self.assertEqual(self.deeds(c), [deed])
        self.daemon.kill()
        self.start()
        self.taints(c)
        self.assertEqual(self.deeds(c), [deed])

    def test_nodes_that_others_may_open(self):
        """Devices that are bound later have nodes of their own; the rule of udev is the same for all."""
        self.start()
        c = self.client()
        self.assertEqual(self.taints(c), [])
        nic = self.host.add_device('0000:0b:00.0', group=13, driver=VFIO)
        os.chmod(self.host.root + '/dev/vfio/13', 0o666)
        self.kernel.announce('change', nic)
        wait(lambda: self.taints(c), 'the taint')
        taint, = self.taints(c)
        self.assertEqual((taint['kind'], taint['weakens']), ('open-node', True))
        self.assertIn('/dev/vfio/*: mode 0666', taint['what'])

    def test_what_is_found(self):
        self.kernel.put('/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts', 'Y\n')
        self.kernel.put('/proc/cmdline', 'root=/dev/root pcie_acs_override=downstream\n')
        self.start()
        c = self.client()
        found = {t['kind']: t for t in self.taints(c)}
        self.assertEqual(set(found), {'unsafe-interrupts', 'command-line'})
        self.assertIn('pcie_acs_override=downstream', found['command-line']['what'])
        since = found['command-line']['since']
        self.daemon.kill()
        self.start()
        self.assertEqual({t['kind']: t['since'] for t in self.taints(c)}['command-line'], since)
        self.kernel.put('/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts', 'N\n')
        wait(lambda: [t['kind'] for t in self.taints(c)] == ['command-line'], 'what is no longer so goes')

    def test_the_switch_is_found_while_it_is_on(self):
        self.start()
        c = self.client()
        claim = self.acquire(c)
        wait(lambda: 'noiommu-enabled' in [t['kind'] for t in self.taints(c)], 'the switch is seen')
        claim.close()
        self.wait_gone(claim)
        wait(lambda: 'noiommu-enabled' not in [t['kind'] for t in self.taints(c)], 'the switch is off')

    def test_it_is_announced(self):
        self.start()
        c = self.client()
        invalidated = []
        c.connection.add_signal_receiver(lambda *a: invalidated.extend(a[2]), 'PropertiesChanged', harness.PROPERTIES,
                                         path=ROOT_PATH)
        self.taints(c)
        self.acquire(c)
        wait(lambda: 'Taints' in invalidated, 'the change is announced')

    def test_a_claim_may_demand_none(self):
        grouped = self.host.add_device('0000:08:00.0', group=8, driver='vfio-pci')
        self.set_policy([self.rule(device=grouped.address, untainted=True),
                         self.rule(name='raw', device=self.nic.address,
                                   noiommu={'reason': REASON, 'waive-cap-sys-rawio': True})],
                        host={'noiommu': 'managed'})
        self.start()
        c = self.client()
        c.acquire(grouped).close()
        claim = self.acquire(c)
        wait(lambda: grouped.enable == 0 and self.records() == [claim.id + '.json'], 'the first claim is over')
        with self.refused('HostTainted', 'without an IOMMU'):
            c.acquire(grouped)

    @harness.needs_root
    def test_rules_are_for_whom_they_concern(self):
        self.start()
        c = self.client()
        self.acquire(c)
        self.taints(c)
        read = 'get-property', harness.NAME, ROOT_PATH, f'{harness.NAME}.Manager', 'Taints'
        status, out = self.busctl(*read, user=65534)
        self.assertEqual(status, 0, out)
        self.assertIn(self.nic.name, out)
        self.assertNotIn('50-test.json', out)
        # The very first call of a connection is enough for whom it is for.
        self.assertIn('50-test.json', self.busctl(*read)[1])
        self.assertNotIn(REASON, out)

    def test_damaged_files(self):
        path = pathlib.Path(f'{self.directory}/state/taints.json')
        boot_id = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        entry = {'kind': 'kernel', 'weakens': True, 'what': 'x', 'since': 1, 'device': '', 'rule': '', 'reason': ''}
        for document in ('', '{', '[]', '{"bootId": 1, "taints": []}',
                         json.dumps({'bootId': boot_id, 'taints': [{**entry, 'kind': 'none'}]}),
                         json.dumps({'bootId': boot_id, 'taints': [{**entry, 'what': 'x' * 200}]}),
                         json.dumps({'bootId': boot_id, 'taints': [{**entry, 'since': -1}]}),
                         json.dumps({'bootId': boot_id, 'taints': [entry] * 300})):
            path.write_text(document)
            self.start()
            self.assertEqual(self.taints(self.client()), [])
            self.assertTrue(os.path.exists(f'{path}.bad'), document)
            os.unlink(f'{path}.bad')
            self.assertEqual(self.daemon.stop(), 0)
        self.daemon = None


if __name__ == '__main__':
    harness.main()

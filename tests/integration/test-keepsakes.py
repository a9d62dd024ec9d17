#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service manager keeps of quarantines and taints: the files in /run are gone, or another kernel runs (kexec)."""

import errno
import fcntl
import json
import os
import shutil

import harness
from harness import ROOT_PATH, VfiodTestCase, needs_root, wait

EARLIER = '00000000-0000-4000-8000-00000000beef'
MFD_NOEXEC_SEAL, F_SEAL_EXEC = 0x8, 0x20  # since Linux 6.3
ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def has_noexec_seal():
    try:
        os.close(os.memfd_create('probe', MFD_NOEXEC_SEAL))
    except OSError:
        return False
    return True


class KeepsakesTestCase(VfiodTestCase):
    def kept(self, name):
        """What the service manager has under this name; None."""
        fds = self.manager.others.get(name, [])
        self.assertLessEqual(len(fds), 1, name)
        return os.pread(fds[0], 1 << 20, 0).decode() if fds else None

    def replace(self, name, text):
        """Not while the daemon runs."""
        fd = os.memfd_create(name)
        os.write(fd, text.encode())
        for old in self.manager.others.pop(name, []):
            os.close(old)
        self.manager.others[name] = [fd]

    def lose_files(self):
        for name in os.listdir(f'{self.directory}/state'):
            path = f'{self.directory}/state/{name}'
            if name == 'claims':  # which is watched
                for file in os.listdir(path):
                    os.unlink(f'{path}/{file}')
            elif os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def kexec(self):
        """Another kernel: only memfds are left of what was kept, each device is on its driver, and /run is empty."""
        self.manager.hear_all()
        self.assertEqual(self.daemon.stop(), 0)
        self.manager.hear_all()
        self.manager.forget()
        for name in list(self.manager.others):
            text = self.kept(name) if name != 'node-watch' else None
            if text is None:
                for fd in self.manager.others.pop(name):
                    os.close(fd)
            else:
                self.replace(name, json.dumps({**json.loads(text), 'bootId': EARLIER}))
        self.lose_files()

    def boot(self):
        self.start(keep_fds=True)
        self.c = self.client()
        self.manager.hear_all()


@needs_root
class QuarantineTest(KeepsakesTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme', class_code=0x010802)
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def quarantine(self, *devices):
        for device in devices:
            self.kernel.fail('reset', device.address, errno.ENOTTY)
        claim = self.c.acquire(*devices)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.kernel.heal()
        self.manager.hear_all()
        return claim

    def states(self):
        return [str(self.c.device(d)['State']) for d in (self.nic, self.disk)]

    def reset_host(self):
        for device in (self.nic, self.disk):
            driver, override = self.before[device.address]
            device.override = None
            self.kernel.put(device.path + '/driver_override', override)
            if device.driver != driver:
                self.host.change_driver(device, driver)

    def test_it_is_sealed_and_goes_with_the_quarantine(self):
        claim = self.quarantine(self.nic)
        name = f'quarantine-{claim.id}'
        self.assertEqual(json.loads(self.kept(name))['id'], claim.id)
        fd = self.manager.others[name][0]
        self.assertEqual(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & ~F_SEAL_EXEC, ALL_SEALS)
        if has_noexec_seal():
            self.assertEqual(os.fstat(fd).st_mode & 0o111, 0)  # vm.memfd_noexec=2 allows no other
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.wait_gone(claim)
        self.manager.hear_all()
        self.assertIsNone(self.kept(name))
        self.assertEqual([m for m in os.listdir(f'/proc/{self.daemon.process.pid}/fd')
                          if 'quarantine-' in os.readlink(f'/proc/{self.daemon.process.pid}/fd/{m}')], [])

    def test_no_other_claim_has_one(self):
        claim = self.c.acquire(self.nic)
        self.manager.hear_all()
        claim.close()
        self.wait_gone(claim)
        self.manager.hear_all()
        self.assertFalse([m for m in self.manager.messages if m.get('FDNAME', '').startswith('quarantine-')])

    def test_the_records_are_gone(self):
        claim = self.quarantine(self.nic, self.disk)
        self.assertEqual(self.daemon.stop(), 0)
        self.lose_files()
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'quarantined'])
        self.assertEqual(self.c.device(self.nic)['QuarantineCause'], 'reset-failed')
        self.assertEqual(self.records(), [claim.id + '.json'])
        self.assertTrue(self.log_lines('its record is gone or damaged, and systemd has kept a copy', claim.id))
        # All of it is known, so it can be put right.
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)
        self.manager.hear_all()
        self.assertIsNone(self.kept(f'quarantine-{claim.id}'))

    def test_a_record_counts_more(self):
        claim = self.quarantine(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        text = json.loads(self.kept(f'quarantine-{claim.id}'))
        self.replace(f'quarantine-{claim.id}', json.dumps({**text, 'reason': 'forged'}))
        self.boot()
        self.assertEqual((claim.state, claim.properties()['Reason']), ('quarantined', ''))
        self.assertFalse(self.log_lines('its record is gone'))

    def test_the_record_is_damaged(self):
        """Of the slot only the id can be read."""
        claim = self.quarantine(self.nic, self.disk)
        self.assertEqual(self.daemon.stop(), 0)
        path = f'{self.directory}/state/claims/slots'
        with open(path, 'rb') as f:
            data = f.read()
        with open(path, 'wb') as f:
            f.write(data.replace(b'pci:', b'PCI_'))
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'quarantined'])
        self.assertEqual(self.records(), [claim.id + '.json', claim.id + '.json.bad'])
        self.assertEqual(json.loads(self.kept(f'quarantine-{claim.id}'))['members'][0]['name'], self.nic.name)
        self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    def test_a_keepsake_that_was_lost_is_made_anew(self):
        claim = self.quarantine(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        self.manager.lose_others()
        self.boot()
        self.assertEqual(json.loads(self.kept(f'quarantine-{claim.id}'))['id'], claim.id)

    def test_damaged(self):
        """Each is reported, and the others count."""
        claim = self.quarantine(self.nic)
        good = f'quarantine-{claim.id}'
        self.assertEqual(self.daemon.stop(), 0)
        record = json.loads(self.kept(good))
        damaged = {'': 'empty', '{': 'cut', '[]': 'list', json.dumps({**record, 'state': 'held', 'id': 'f' * 16}): 'held',
                   json.dumps({**record, 'version': 99}): 'version', json.dumps(record): 'another id',
                   json.dumps({**record, 'bootId': EARLIER, 'members': []}): 'earlier', 'x' * (256 * 1024 + 1): 'long'}
        for i, text in enumerate(damaged):
            self.replace('quarantine-' + f'{i:x}' * 16, text)
        pipe, other = os.pipe()
        self.addCleanup(os.close, other)
        self.manager.others['quarantine-' + 'e' * 16] = [pipe]
        self.replace('quarantine-../../etc/passwd', 'x')
        self.lose_files()
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'free'])
        # A full socket to systemd is tried again after a while.
        wait(lambda: [n for n in self.manager.others if n.startswith('quarantine-')] == [good], 'one is kept')
        self.assertEqual(len(self.log_lines('The record of claim', 'is damaged')), len(damaged) + 1)
        self.assertTrue(self.log_lines('etc/passwd', 'is not used'))

    def test_what_a_damaged_one_names_is_quarantined(self):
        claim = self.quarantine(self.nic)
        good = f'quarantine-{claim.id}'
        self.assertEqual(self.daemon.stop(), 0)
        text = json.dumps({**json.loads(self.kept(good)), 'version': 99})
        for damaged in (text, text[:-20]):
            with self.subTest(damaged[-20:]):
                self.replace(good, damaged)
                self.lose_files()
                self.boot()
                self.assertEqual((self.states(), claim.state), (['quarantined', 'free'], 'quarantined'))
                self.assertRegex(claim.properties()['Failure'], 'record .* is damaged')
                self.assertNotEqual(self.kept(good), damaged)
                self.assertEqual(self.daemon.stop(), 0)

    def test_one_that_cannot_be_read_may_name_any_device_on_a_vfio_driver(self):
        claim = self.quarantine(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        self.replace(f'quarantine-{claim.id}', '')
        self.lose_files()
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'free'])

    def test_kexec(self):
        claim = self.quarantine(self.nic, self.disk)
        since = claim.properties()['Since']
        self.kexec()
        self.reset_host()
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'quarantined'])
        self.assertEqual([self.c.device(d)['QuarantineCause'] for d in (self.nic, self.disk)], ['reset-failed'] * 2)
        self.assertEqual((claim.state, claim.properties()['Since']), ('quarantined', since))
        self.assertRegex(claim.properties()['Failure'], 'in quarantine before the kexec: .*reset')
        with self.refused('DeviceQuarantined', 'it is quarantined', 'quarantine clear'):
            self.c.acquire(self.nic)
        with self.refused('DeviceQuarantined', 'from before a kexec', 'unknown'):
            self.c.manager('RetryQuarantine', 'asa{sv}', [self.nic.name], {})
        self.assertEqual(self.host.binding(), self.before)  # the host has its devices, and keeps them
        # The same in the next start, and after the next kexec.
        self.assertEqual(self.daemon.stop(), 0)
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'quarantined'])
        self.kexec()
        self.boot()
        self.assertEqual(self.states(), ['quarantined', 'quarantined'])
        self.c.manager('ClearQuarantine', 'asa{sv}', [self.nic.name, self.disk.name], {'reason': 'looked at'})
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)
        self.manager.hear_all()
        self.assertIsNone(self.kept(f'quarantine-{claim.id}'))
        self.c.acquire(self.nic).close()

    def test_kexec_with_other_devices(self):
        claim = self.quarantine(self.nic, self.disk)
        self.kexec()
        self.reset_host()
        self.host.remove_device(self.nic)
        self.host.add_device('0000:06:00.0', group=8, driver='e1000e', device=0x1533)
        self.boot()
        self.assertEqual(self.states(), ['free', 'quarantined'])
        self.assertTrue(self.log_lines(f'The quarantine of {self.nic.name} has ended', 'another device'))
        self.assertEqual(claim.properties()['Devices'], [harness.device_path(self.disk.name)])

    def test_kexec_before_it_appears(self):
        """A virtual function, or a device that is plugged in later. It is remembered over a restart."""
        claim = self.quarantine(self.nic)
        self.kexec()
        self.host.remove_device(self.nic)
        self.boot()
        self.assertTrue(self.log_lines(self.nic.name, 'will be again when it appears'))
        self.assertEqual(self.records(), [])
        self.assertEqual(self.daemon.stop(), 0)
        self.boot()
        self.assertIsNotNone(self.kept(f'quarantine-{claim.id}'))
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        wait(lambda: claim.state == 'quarantined', 'it is in quarantine again')
        self.assertEqual(self.states(), ['quarantined', 'free'])
        self.c.manager('ClearQuarantine', 'asa{sv}', [self.nic.name], {'reason': 'looked at'})
        self.wait_gone(claim)
        self.manager.hear_all()
        self.assertIsNone(self.kept(f'quarantine-{claim.id}'))
        self.host.remove_device(self.nic).join(20)
        self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        wait(lambda: self.c.find(self.nic), 'it is there again')
        self.assertEqual(self.states(), ['free', 'free'])

    def test_kexec_when_one_of_two_appears_later(self):
        claim = self.quarantine(self.nic, self.disk)
        self.kexec()
        self.reset_host()
        self.host.remove_device(self.disk)
        self.boot()
        self.assertEqual(str(self.c.device(self.nic)['State']), 'quarantined')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme', class_code=0x010802)
        wait(lambda: len(self.records()) == 2, 'it is in quarantine again')
        self.assertEqual(self.states(), ['quarantined', 'quarantined'])
        self.assertEqual(claim.properties()['Devices'], [harness.device_path(self.nic.name)])

    def test_kexec_into_one_group(self):
        """Each has its own quarantine, and the group of the second is in the first one."""
        claims = [self.quarantine(d) for d in (self.nic, self.disk)]
        self.kexec()
        for device in (self.nic, self.disk):
            self.host.remove_device(device).join(20)
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=8, driver='nvme', class_code=0x010802)
        self.boot()
        for claim in claims:
            self.assertIsNotNone(self.kept(f'quarantine-{claim.id}'))

    def test_a_claim_does_not_live_on(self):
        claim = self.c.acquire(self.nic)
        self.assertEqual(self.daemon.stop(), 0)
        claim.close()  # no process survives
        self.kexec()
        self.reset_host()
        self.boot()
        self.assertEqual((self.states(), claim.state, self.records()), (['free', 'free'], 'gone', []))


class TaintTest(KeepsakesTestCase):
    host_options = {'noiommu': True}

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', driver='e1000e')
        self.set_policy([self.rule(device=self.nic.address, noiommu={'reason': 'DPDK', 'waive-cap-sys-rawio': True})],
                        host={'noiommu': 'on'})
        self.start()
        self.c = self.client()
        self.c.acquire(self.nic, backend='noiommu').close()
        self.deed, = self.deeds()
        self.manager.hear_all()

    def deeds(self):
        return [t for t in self.c.get(ROOT_PATH, 'Manager', 'Taints') if t['kind'] == 'noiommu-claim']

    def test_the_file_is_gone(self):
        self.assertEqual(self.daemon.stop(), 0)
        self.lose_files()
        self.boot()
        self.assertEqual(self.deeds(), [self.deed])
        self.assertTrue(self.log_lines('The ledger of taints was restored from the file descriptor store'))
        self.assertTrue(os.path.exists(f'{self.directory}/state/taints.json'))

    def test_the_file_is_damaged(self):
        self.assertEqual(self.daemon.stop(), 0)
        with open(f'{self.directory}/state/taints.json', 'w') as f:
            f.write('{')
        self.boot()
        self.assertEqual(self.deeds(), [self.deed])

    def test_kexec(self):
        self.kexec()
        self.boot()
        self.assertEqual(self.deeds(), [self.deed])
        self.assertTrue(self.log_lines('The ledger of taints was restored after a kexec'))
        self.assertNotEqual(json.loads(self.kept('taints'))['bootId'], EARLIER)

    def test_findings_of_the_earlier_kernel_end(self):
        finding = {'kind': 'kernel', 'weakens': True, 'what': 'TAINT_EARLIER', 'since': 1}
        self.kexec()
        text = json.loads(self.kept('taints'))
        self.replace('taints', json.dumps({**text, 'taints': [*text['taints'], finding]}))
        self.boot()
        self.assertEqual(self.deeds(), [self.deed])
        self.assertNotIn('TAINT_EARLIER', [t['what'] for t in self.c.get(ROOT_PATH, 'Manager', 'Taints')])

    def test_a_damaged_keepsake(self):
        for text in ('', '{', '[]', json.dumps({'bootId': EARLIER, 'taints': [{'kind': 'none'}]})):
            with self.subTest(text):
                self.daemon.stop()
                self.lose_files()
                self.replace('taints', text)
                self.boot()
                self.assertEqual(self.deeds(), [])
                self.assertTrue(self.log_lines('The ledger of taints that systemd has kept is damaged'))


if __name__ == '__main__':
    harness.main()

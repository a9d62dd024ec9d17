#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The start over what an earlier daemon left: records, lifelines, and damage to them. A device that may be in use is
never handed out, whatever its record looks like."""

import errno
import itertools
import json
import os
import pathlib
import socket
from unittest import mock

import harness
from harness import ROOT_PATH, Daemon, VfiodTestCase, wait
from host import VFIO

RECORDED = pathlib.Path(__file__).parent / 'records' / '0.1.0.json'


class RecoveryTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.card = self.host.add_device('0000:08:00.0', group=10, driver=VFIO)
        self.before = self.host.binding()

    def path(self, name):
        return pathlib.Path(f'{self.directory}/state/claims/{name}')

    def hold_and_kill(self, *devices, unpack=True):
        self.start()
        self.c = self.client()
        claims = [self.c.acquire(d) for d in devices]
        wait(lambda: len(self.manager.fds) == len(devices), 'the lifelines are with the service manager')
        self.daemon.kill()
        if unpack:
            self.unpack_slots()
        return claims

    def restart(self):
        self.start(keep_fds=True)
        self.manager.forget()

    def state(self, device):
        return str(self.c.device(device)['State'])

    def assert_quarantined(self, *devices, word='record'):
        for d in devices:
            self.assertEqual(self.state(d), 'quarantined', d)
            with self.refused('DeviceQuarantined', d.name, word):
                self.c.acquire(d)

    def quarantines(self):
        """id -> Failure"""
        return {path.rsplit('/', 1)[1]: str(interfaces['org.vfiod1.Claim']['Failure'])
                for path, interfaces in self.c.objects().items()
                if str(interfaces.get('org.vfiod1.Claim', {}).get('State')) == 'quarantined'}

    def lift_all(self):
        for claim_id in self.quarantines():
            self.c.manager('Release', 'sa{sv}', claim_id, {})
        wait(lambda: not [r for r in self.records() if not r.endswith('.bad')], 'no record is left')


class DamageTest(RecoveryTestCase):
    """Each way to spoil a record of a held claim: the device is kept from everybody until root says otherwise."""

    def spoil(self, change):
        claim, = self.hold_and_kill(self.nic)
        path = self.path(claim.id + '.json')
        path.write_bytes(change(path.read_bytes()))
        self.restart()
        return claim

    def change(self, **members):
        return lambda text: json.dumps({**json.loads(text), **members}).encode()

    def assert_kept(self, claim, others_free):
        self.assert_quarantined(self.nic)
        quarantines = self.quarantines()
        self.assertIn('damaged', quarantines[claim.id])
        self.assertIn(f'vfioctl release {claim.id}', quarantines[claim.id])
        self.assertTrue(self.path(claim.id + '.json.bad').exists())
        self.assertIn(claim.id, self.log_text())
        self.assertEqual(self.state(self.disk), 'free' if others_free else 'quarantined')
        # It stays so over one more start, although the daemon itself wrote the record.
        self.assertEqual(self.daemon.stop(), 0)
        self.restart()
        self.assertEqual(self.quarantines(), quarantines)
        claim.close()
        self.assert_quarantined(self.nic)
        if os.getuid() == 0:
            self.lift_all()
            self.assertEqual((self.state(self.nic), self.state(self.disk)), ('free', 'free'))
            self.c.acquire(self.nic).close()

    def test_another_version(self):
        self.assert_kept(self.spoil(self.change(version=5)), others_free=True)

    def test_a_field_of_another_type(self):
        self.assert_kept(self.spoil(self.change(uid='root')), others_free=True)

    def test_a_driver_that_is_a_path(self):
        def change(text):
            record = json.loads(text)
            record['members'][0]['originalDriver'] = '../../evil'
            return json.dumps(record).encode()
        self.assert_kept(self.spoil(change), others_free=True)

    def test_cut_short(self):
        # What the rest named is not known: nor is who has the devices that are on a vfio driver.
        self.assert_kept(self.spoil(lambda text: text[:-20]), others_free=False)

    def test_empty(self):
        self.assert_kept_unnamed(self.spoil(lambda text: b''))

    def test_a_name_that_cannot_be_read(self):
        self.assert_kept_unnamed(self.spoil(lambda text: text.replace(b'pci:0000:06', b'pci:0000:X6')))

    def test_larger_than_any_record(self):
        self.assert_kept_unnamed(self.spoil(lambda text: text + b' ' * 300_000))

    def assert_kept_unnamed(self, claim):
        self.assert_quarantined(self.nic, self.disk, self.card)
        claim.close()

    def test_another_name(self):
        claim, = self.hold_and_kill(self.nic)
        os.rename(self.path(claim.id + '.json'), self.path('0' * 16 + '.json'))
        self.restart()
        self.assert_quarantined(self.nic)
        claim.close()

    def test_a_quarantine_without_a_reason(self):
        claim = self.spoil(self.change(state='quarantined', failure=''))
        self.assert_quarantined(self.nic, word='earlier claim')
        self.assertIn('no reason', self.quarantines()[claim.id])
        self.assertEqual(self.c.device(self.nic)['QuarantineCause'], 'unknown')
        claim.close()

    def test_the_healthy_ones_stay(self):
        first, second = self.hold_and_kill(self.nic, self.disk)
        self.path(first.id + '.json').write_text('{')
        self.restart()
        self.assertEqual(second.state, 'held')
        self.assert_quarantined(self.nic, self.card)
        first.close()
        second.close()
        self.wait_gone(second)
        self.assertEqual(self.state(self.disk), 'free')

    def test_a_record_that_is_missing(self):
        claim, = self.hold_and_kill(self.nic)
        self.path(claim.id + '.json').unlink()
        self.restart()
        self.assert_quarantined(self.nic, self.disk)
        claim.close()

    def test_a_lifeline_without_record_whose_program_is_gone(self):
        claim, = self.hold_and_kill(self.disk)
        self.path(claim.id + '.json').unlink()
        claim.close()
        self.restart()
        self.assertEqual(self.state(self.disk), 'free')


class KilledTest(VfiodTestCase):
    """Killed while it hands out devices: what has reached a client is never free, and nobody else suffers."""

    def test_whatever_it_was_doing(self):
        # None has to be bound: the service manager waits for workers of the killed daemon, and nobody does here.
        devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver=VFIO) for n in range(1, 7)]
        before = self.host.binding()
        for n in range(1, len(devices) + 1):
            self.start()
            c = self.client()
            answers = {d: c.acquire_later(d) for d in devices}
            wait(lambda: sum(a.done for a in answers.values()) >= n, f'{n} are answered')
            self.daemon.kill()
            wait(lambda: all(a.done for a in answers.values()), 'the others hear that it is gone')
            claims = {d: a.value[0] for d, a in answers.items() if a.value}
            self.start(keep_fds=True)
            self.manager.forget()
            for d in claims:
                self.assertNotIn(c.device(d)['State'], ('free', 'quarantined'))
            self.assertEqual([i for i in c.objects().values()
                              if i.get('org.vfiod1.Claim', {}).get('State') == 'quarantined'], [])
            for claim in claims.values():
                claim.close()
            wait(lambda: self.records() == [], 'all claims end')
            wait(lambda: self.host.binding() == before, 'all devices are back')
            self.assertEqual(self.daemon.stop(), 0)


class TroubleTest(RecoveryTestCase):
    def test_no_regular_file(self):
        claim, = self.hold_and_kill(self.nic)
        path = self.path(claim.id + '.json')
        path.unlink()
        os.mkfifo(path)
        self.restart()
        self.assert_quarantined(self.nic, self.disk)
        claim.close()

    def test_a_record_that_cannot_be_read_now(self):
        # Nothing is known of the claim then: the daemon does not serve, and loses nothing by it.
        claim, = self.hold_and_kill(self.nic)
        path = self.path(claim.id + '.json')
        text = path.read_text()
        path.unlink()
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(path))  # open() says ENXIO
        self.assertEqual(harness.Daemon(self, keep_fds=True).wait_exit(), 1)
        self.assertEqual(self.records(), [claim.id + '.json'])
        self.assertEqual([m for m in self.manager.messages if 'FDSTOREREMOVE' in m], [])
        path.unlink()
        path.write_text(text)
        self.restart()
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)

    def test_too_few_fds_to_take_up_claims(self):
        claims = self.hold_and_kill(*(self.host.add_device(f'0000:{i:02x}:00.0', group=i, driver=VFIO) for i in range(16, 28)))
        for limit in itertools.count(3 + len(claims) + 8):  # with fewer it cannot be loaded
            daemon = Daemon(self, keep_fds=True, nofile=limit)
            wait(lambda: daemon.process.poll() is not None or any(m.get('READY') == '1' for m in self.manager.messages),
                 'it starts or gives up')
            started = daemon.process.poll() is None
            (daemon.kill if started else daemon.stop)()
            self.assertEqual(self.records(), sorted(c.id + '.json' for c in claims), limit)
            self.assertEqual(len(self.manager.fds), len(claims), limit)
            if started:
                break
        self.assertIn('Cannot take up', self.log_text())
        self.restart()
        self.assertEqual([c.state for c in claims], ['held'] * len(claims))

    def test_a_record_that_cannot_be_removed_at_once(self):
        claim, = self.hold_and_kill(self.disk)
        self.restart()
        path = self.path(claim.id + '.json')
        text = path.read_text()
        path.unlink()
        path.mkdir()
        claim.close()
        wait(lambda: claim.state == 'gone', 'it ends')
        path.rmdir()
        path.write_text(text)
        self.wait_gone(claim)


class SlotTest(RecoveryTestCase):
    def edit(self, change):
        path = self.path('slots')
        path.write_bytes(change(path.read_bytes()))

    def test_held_over_a_restart(self):
        claims = self.hold_and_kill(self.nic, self.disk, unpack=False)
        self.assertEqual(os.listdir(self.path('')), ['slots'])
        self.restart()
        self.assertEqual([c.state for c in claims], ['held', 'held'])
        for claim in claims:
            claim.close()
            self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    def test_a_write_that_was_cut_short(self):
        # The record before that one counts: what the new one was to describe had not been done.
        claim, = self.hold_and_kill(self.nic, unpack=False)

        def change(data):
            halves = [data[:4096], data[4096:8192]]
            older = min(halves, key=lambda half: int.from_bytes(half[8:16], 'little'))
            return b''.join(h if h == older else h[:100] + bytes(3996) for h in halves) + data[8192:]
        self.edit(change)
        self.restart()
        self.assertEqual(self.records(), [claim.id + '.json'])
        with self.refused('DeviceClaimed', self.nic.name):
            self.c.acquire(self.nic)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    def test_both_halves_are_damaged(self):
        claim, = self.hold_and_kill(self.nic, unpack=False)
        self.edit(lambda data: data[:90] + b'!' + data[91:4096 + 90] + b'!' + data[4096 + 91:])
        self.restart()
        self.assert_quarantined(self.nic, self.disk)
        self.assertIn('damaged', self.quarantines()[claim.id])
        self.assertTrue(self.path(claim.id + '.json.bad').exists())
        self.assertEqual(self.daemon.stop(), 0)
        self.restart()
        self.assert_quarantined(self.nic, self.disk)
        claim.close()
        if os.getuid() == 0:
            self.lift_all()
            self.c.acquire(self.nic).close()

    def test_another_version(self):
        claim, = self.hold_and_kill(self.nic, unpack=False)

        def change(data):
            text = json.dumps({**json.loads(self.slots()[0]), 'version': 5}).encode()
            head = (9).to_bytes(8, 'little') + len(text).to_bytes(8, 'little')
            half = b'vfiodrec' + head + harness.checksum(head + text).to_bytes(8, 'little') + text
            return half.ljust(8192, b'\0')
        self.edit(change)
        self.restart()
        self.assert_quarantined(self.nic)
        self.assertIn('damaged', self.quarantines()[claim.id])
        self.assertEqual(self.state(self.disk), 'free')
        claim.close()


class RivalTest(RecoveryTestCase):
    def test_the_one_with_a_lifeline(self):
        claim, = self.hold_and_kill(self.nic)
        record = json.loads(self.path(claim.id + '.json').read_text())
        # In the order of names it comes first, and it says that it is newer.
        rival = '0' * 16
        self.path(rival + '.json').write_text(
            json.dumps({**record, 'id': rival, 'state': 'draining', 'since': record['since'] + 1}))
        self.restart()
        self.assertEqual(self.records(), [rival + '.json.bad', claim.id + '.json'])
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    def test_a_lifeline_whose_program_is_gone_does_not_count(self):
        claim, = self.hold_and_kill(self.nic)
        record = json.loads(self.path(claim.id + '.json').read_text())
        leftover = 'f' * 16
        self.path(leftover + '.json').write_text(json.dumps({**record, 'id': leftover, 'since': record['since'] + 1}))
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.close(writing)
        self.manager.fds['claim-' + leftover] = [reading]
        self.restart()
        self.assertEqual(self.records(), sorted([leftover + '.json.bad', claim.id + '.json']))
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)

    def test_the_newer_one(self):
        claim, = self.hold_and_kill(self.nic)
        record = json.loads(self.path(claim.id + '.json').read_text())
        older, newer = 'f' * 16, '0' * 16
        self.path(claim.id + '.json').unlink()
        for name, since in ((older, 1), (newer, 2)):
            self.path(name + '.json').write_text(
                json.dumps({**record, 'id': name, 'since': record['since'] + since}))
        claim.close()
        self.manager.forget()
        self.start()
        wait(lambda: self.records() == [older + '.json.bad'], 'the newer one ends')
        wait(lambda: self.host.binding() == self.before, 'the device is back')

    def test_what_only_the_loser_has(self):
        claim, = self.hold_and_kill(self.nic)
        record = json.loads(self.path(claim.id + '.json').read_text())
        rival = 'f' * 16
        second = {**record['members'][0], 'name': self.disk.name, 'group': 9, 'bind': False}
        self.path(rival + '.json').write_text(
            json.dumps({**record, 'id': rival, 'groups': [8, 9], 'members': [record['members'][0], second]}))
        self.restart()
        self.assertEqual(claim.state, 'held')
        self.assert_quarantined(self.disk)
        self.assertEqual(self.state(self.card), 'free')
        claim.close()

    def test_copies_under_other_names(self):
        claim, = self.hold_and_kill(self.nic)
        text = self.path(claim.id + '.json').read_text()
        copies = [claim.id + suffix for suffix in ('x.json', '.json.json', '.json.orig', '-copy.json')]
        for name in copies:
            self.path(name).write_text(text)
        self.path(claim.id + '.json').unlink()
        claim.close()
        self.manager.forget()
        self.start()
        self.assertEqual(self.c.properties(ROOT_PATH, 'Manager')['Claims'], 0)
        self.assertEqual(self.records(), sorted(copies))


class RecordedTest(VfiodTestCase):
    """Records of version 0.1.0, one for each backend and state, over the host as it was then."""

    host_options = {'noiommu': True}

    def setUp(self):
        super().setUp()
        self.recorded = json.loads(RECORDED.read_text())
        boot_id = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        self.devices = {}
        for d in self.recorded['devices']:
            device = self.host.add_device(
                d['address'], group=d['group'], driver=d['driver'], host_driver=d['hostDriver'], reset=d['reset'],
                override=d['override'], device=d['device'])
            self.devices[d['address']] = device
        self.lifelines, self.ids, self.members = {}, {}, {}
        for name, claim in self.recorded['claims'].items():
            text = claim['record'].replace('@BOOT_ID@', boot_id)
            pathlib.Path(f'{self.directory}/state/claims/{claim["file"]}').write_text(text)
            record = json.loads(text)
            self.ids[name] = record['id']
            self.members[name] = [self.devices[m['name'][4:]] for m in record['members']]
            if claim['lifeline']:
                reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                self.manager.fds[claim['lifeline']] = [reading]
                self.lifelines[name] = writing
        bare = [d['address'] for d in self.recorded['devices'] if d['noiommu']]
        self.set_policy([self.rule('noiommu', device=bare, noiommu={'reason': 'tests', 'waive-cap-sys-rawio': True}),
                         self.rule()], host={'noiommu': 'on'})

    def test_no_claim_is_lost(self):
        self.start(keep_fds=True)
        self.manager.forget()
        c = self.client()

        def state(name):
            return str(c.properties(f'{ROOT_PATH}/claim/{self.ids[name]}', 'Claim')['State'])

        self.assertEqual(sorted(self.lifelines), ['held', 'noiommu', 'noreset', 'override', 'parks', 'ready', 'two'])
        for name in self.lifelines:
            self.assertEqual(state(name), 'held', name)
        self.assertEqual(state('quarantined'), 'quarantined')
        self.assertEqual(c.properties(f'{ROOT_PATH}/claim/{self.ids["held"]}', 'Claim')['Reason'],
                         'a reason with "quotes", a / and umlauts äöü')
        for name in self.lifelines:
            os.close(self.lifelines[name])
        # All of them end, and each device gets what it had before its claim.
        wait(lambda: self.records() == [self.ids['quarantined'] + '.json'], 'all others end')
        for name, claim in self.recorded['claims'].items():
            if name == 'quarantined':
                continue
            for member in json.loads(claim['record'])['members']:
                device = self.devices[member['name'][4:]]
                self.assertEqual(device.driver or '', member['originalDriver'], (name, device))
                self.assertEqual(device.override or '', member['originalOverride'], (name, device))


class StoreSizeTest(RecoveryTestCase):
    def start_with(self, size, **options):
        with mock.patch.dict(os.environ, FDSTORE=size):
            self.start(**options)

    def test_no_claim_is_beyond_the_store_of_systemd(self):
        # 16 unused lifelines, the watch of the nodes, the taints, one that moves, and two claims with two places each.
        self.start_with('23')
        c = self.client()
        claims = [c.acquire(d) for d in (self.nic, self.disk)]
        with self.refused('LimitExceeded', 'already 2 claims'):
            c.acquire(self.card)
        wait(lambda: len(self.manager.fds) == len(claims), 'the lifelines are with the service manager')
        self.daemon.kill()
        self.start_with('23', keep_fds=True)
        self.manager.forget()
        self.assertEqual([claim.state for claim in claims], ['held', 'held'])

    def test_a_claim_takes_two_places_at_most(self):
        """One that is quarantined keeps its lifeline, and gets a copy of its record."""
        self.start()
        c = self.client()
        claims = [c.acquire(d) for d in (self.nic, self.disk)]
        for device in (self.nic, self.disk):
            self.kernel.fail('reset', device.address, errno.ENOTTY)
        for claim in claims:
            claim.close()
            wait(lambda claim=claim: claim.state == 'quarantined', 'it is quarantined')
        def copies():
            return [name for name in self.manager.others if name.startswith('quarantine-')]
        wait(lambda: len(copies()) == 2, 'systemd has the copies')
        self.assertEqual(len(self.manager.fds) + len(copies()), 2 * len(claims))

    def test_a_size_that_is_no_number_has_no_room(self):
        self.start_with('many')
        with self.refused('LimitExceeded', 'already 0 claims'):
            self.client().acquire(self.nic)


if __name__ == '__main__':
    harness.main()

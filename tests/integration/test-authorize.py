#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The terms of rules: "ask", which a person answers through polkit, and nothing but a clear yes is a yes; limits; and
locked memory."""

import json
import os
import re
import subprocess
import sys
import unittest
from xml.etree import ElementTree

import dbus
import dbus.lowlevel

import harness
from harness import NAME, NOBODY, ROOT_PATH, SOURCE, Claim, Pending, VfiodTestCase, device_path, needs_root, wait
from host import VFIO
from mock_polkit import MockPolkit


class AuthorizeTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.set_policy([self.rule('asks', effect='ask')])
        self.polkit = MockPolkit(self.bus.address)
        self.addCleanup(self.polkit.close)
        self.c = self.client()

    def ask(self, *devices, client=None, interactive=True, claim=None, **options):
        """An Acquire, or with a claim AddDevices, that is on its way, and the question that polkit was asked about it."""
        pending, client = Pending(), client or self.c
        before = len(self.polkit.questions)
        m = dbus.lowlevel.MethodCallMessage(NAME, ROOT_PATH, NAME + '.Manager', 'AddDevices' if claim else 'Acquire')
        m.set_allow_interactive_authorization(interactive)
        if claim:
            m.append(claim.id, [d.name for d in devices], options, signature='sasa{sv}')
        else:
            m.append([d.name for d in devices], options, signature='asa{sv}')

        def on_reply(reply):
            if isinstance(reply, dbus.lowlevel.ErrorMessage):
                pending.fail(dbus.DBusException(*reply.get_args_list(), name=reply.get_error_name()))
            elif claim:
                pending.reply(*reply.get_args_list())
            else:
                pending.reply(Claim(client, *reply.get_args_list()))
        client.connection.send_message_with_reply(m, on_reply, 20)
        wait(lambda: len(self.polkit.questions) > before or pending.done, 'polkit is asked')
        return pending, self.polkit.questions[-1] if len(self.polkit.questions) > before else None

    def result(self, pending):
        wait(lambda: pending.done, 'Acquire is answered')
        if pending.error:
            raise pending.error
        return pending.value[0]

    def assert_nothing_left(self):
        wait(lambda: not any('/claim/' in path for path in self.c.objects()), 'the claim goes')
        self.assert_untouched(self.before)

    def test_the_action_as_shipped(self):
        """Each claim is a question of its own, and the text has nothing that polkit is not told."""
        self.start()
        pending, question = self.ask(self.nic)
        question.answer(False)
        wait(lambda: pending.done, 'it is refused')
        action = ElementTree.parse(SOURCE / 'policy' / 'org.vfiod1.policy').find('action')
        self.assertEqual({d.text for d in action.find('defaults')}, {'auth_admin'})
        named = re.findall(r'\$\((\w+)\)', action.find('message').text)
        self.assertEqual(sorted(named), ['caller', 'devices', 'parked', 'reason'])
        self.assertLessEqual(set(named), set(question.details))

    def test_devices_that_are_added(self):
        self.set_policy([self.rule('disk', device=self.disk.name), self.rule('asks', effect='ask')])
        self.start()
        claim = self.c.acquire(self.disk)
        pending, question = self.ask(self.nic, claim=claim)
        self.assertEqual(question.details['devices'], self.nic.name)
        self.assertEqual((claim.state, self.nic.driver), ('held', 'e1000e'))
        question.answer(False)
        with self.refused('NotAuthorized'):
            self.result(pending)
        self.assertEqual([str(p) for p in claim.properties()['Devices']], [device_path(self.disk.name)])
        pending, question = self.ask(self.nic, claim=claim)
        question.answer(True)
        wait(lambda: pending.done, 'it has joined')
        self.assertIsNone(pending.error)
        self.assertEqual([str(p) for p in claim.properties()['Devices']],
                         [device_path(d.name) for d in (self.disk, self.nic)])
        claim.fds['added'] = pending.value[1][0][1].take()
        claim.close()
        self.wait_gone(claim)
        self.assert_nothing_left()

    def test_a_claim_that_ends_before_the_answer(self):
        self.set_policy([self.rule('disk', device=self.disk.name), self.rule('asks', effect='ask')])
        self.start()
        claim = self.c.acquire(self.disk)
        pending, question = self.ask(self.nic, claim=claim)
        claim.close()
        self.wait_gone(claim)
        question.answer(True)
        with self.refused('NoSuchClaim', claim.id):
            self.result(pending)
        self.assert_nothing_left()

    def test_yes(self):
        self.start()
        self.assertTrue(self.c.plan(self.nic)['ask'])
        pending, question = self.ask(self.nic, reason='ticket 7')
        self.assertEqual(question.subject, ('system-bus-name', {'name': self.c.connection.get_unique_name()}))
        self.assertEqual((question.action, question.interactive), ('org.vfiod1.acquire', True))
        self.assertEqual((question.details['devices'], question.details['reason']), (self.nic.name, 'ticket 7'))
        self.assertEqual(question.details['parked'], 'no other device')
        self.assertIn('asks', question.details['rule'])
        self.assertIn(f'uid {os.getuid()} (python3, process {os.getpid()}', question.details['caller'])
        claim, = [p['org.vfiod1.Claim'] for path, p in self.c.objects().items() if '/claim/' in path]
        self.assertEqual(claim['State'], 'authorizing')
        self.assertEqual(self.c.device(self.nic)['State'], 'free')  # nothing is held back for who only asks
        self.assertEqual(self.records(), [])
        self.assert_untouched(self.before)

        question.answer(True)
        claim = self.result(pending)
        self.assertEqual((claim.state, self.nic.driver), ('held', VFIO))
        self.wait_logged('authenticated through polkit')
        claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_what_is_parked(self):
        """The person hears which siblings lose their drivers, and a yes is for these alone."""
        self.set_policy([self.rule('asks', effect='ask', device=self.nic.address, siblings='park')])
        disk = self.host.add_device('0000:06:00.5', group=8, driver='nvme')
        self.start()
        pending, question = self.ask(self.nic)
        self.assertIn(f'{disk.name} (nvme)', question.details['parked'])
        self.host.add_device('0000:06:00.6', group=8, driver='ahci')
        wait(lambda: self.c.seen('InterfacesAdded', harness.device_path('pci:0000:06:00.6')), 'the other sibling')
        question.answer(True)
        with self.refused('NotAuthorized', 'pci:0000:06:00.6 (ahci)'):
            self.result(pending)
        self.assertEqual(disk.driver, 'nvme')

    def test_no(self):
        self.start()
        for interactive, answer, word in (
                (True, {'yes': False}, 'polkit denied it'),
                (True, {'yes': False, 'challenge': True, 'polkit.dismissed': 'true'}, 'the authentication was dismissed'),
                (False, {'yes': False, 'challenge': True}, '--no-ask-password')):
            pending, question = self.ask(self.nic, interactive=interactive)
            self.assertEqual(question.interactive, interactive)
            question.answer(**answer)
            with self.refused('NotAuthorized', word):
                self.result(pending)
            story = json.loads(self.c.manager('Explain', 'asa{sv}', [], {'lastRefusal': True}))
            self.assertEqual(story['refused']['error'], 'NotAuthorized')
            self.assertIn(word, story['refused']['message'])
        self.assert_nothing_left()

    def test_an_error_is_a_no(self):
        self.start()
        pending, question = self.ask(self.nic)
        question.fail(dbus.DBusException('all\nbroken', name=NAME + '.Odd'))
        with self.refused('NotAuthorized', 'all\\x0abroken'):
            self.result(pending)
        self.assert_nothing_left()

    def test_no_polkit_is_a_no(self):
        self.polkit.close()
        self.start()
        pending, question = self.ask(self.nic)
        self.assertIsNone(question)
        with self.refused('NotAuthorized', 'polkit is not available'):
            self.result(pending)
        self.assert_nothing_left()

    def test_no_answer_in_time_is_a_no(self):
        self.start('--ask-timeout=1')
        pending, question = self.ask(self.nic)
        with self.refused('NotAuthorized', 'within 1 s'):
            self.result(pending)
        wait(lambda: question.cancelled, 'polkit is told to forget it')
        question.answer(True)  # too late
        self.assert_nothing_left()

    def test_the_caller_leaves(self):
        self.start()
        other = self.client()
        _, question = self.ask(self.nic, client=other)
        other.close()
        wait(lambda: question.cancelled, 'polkit is told to forget it')
        self.assert_nothing_left()

    def test_released_while_somebody_is_asked(self):
        self.start()
        pending, question = self.ask(self.nic)
        claim, = [path for path in self.c.objects() if '/claim/' in path]
        self.c.manager('Release', 'sa{sv}', claim.rsplit('/', 1)[1], {})
        with self.refused('NotAuthorized', 'released'):
            self.result(pending)
        wait(lambda: question.cancelled, 'polkit is told to forget it')
        self.assert_nothing_left()

    def test_the_world_moves_meanwhile(self):
        self.start()
        first, question = self.ask(self.disk)
        second, other = self.ask(self.disk)
        other.answer(True)
        claim = self.result(second)
        question.answer(True)
        with self.refused('DeviceClaimed', claim.id):
            self.result(first)
        claim.close()
        self.wait_gone(claim)

        pending, question = self.ask(self.nic)
        self.set_policy([self.rule('now-denied', effect='deny'), self.rule('asks', effect='ask')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        question.answer(True)
        with self.refused('AccessDenied', 'now-denied'):
            self.result(pending)
        self.assert_nothing_left()

    def test_a_yes_to_one_card_is_none_to_another(self):
        self.start()
        pending, question = self.ask(self.nic)
        self.host.remove_device(self.nic)
        wait(lambda: device_path(self.nic.name) not in self.c.objects(), 'vfiod has heard of it')
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e', vendor=0x10de, device=0x2684)
        wait(lambda: device_path(nic.name) in self.c.objects(), 'vfiod has heard of the other')
        question.answer(True)
        with self.refused('NotAuthorized', 'another card', nic.name):
            self.result(pending)
        self.assertEqual((nic.driver, self.records()), ('e1000e', []))

    def test_a_yes_to_one_rule_is_none_to_another(self):
        self.start()
        pending, question = self.ask(self.nic)
        self.set_policy([self.rule('another', effect='ask', **{'host-critical': 'allow'})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        question.answer(True)
        with self.refused('NotAuthorized', 'another rule'):
            self.result(pending)

        pending, question = self.ask(self.nic)
        self.set_policy([self.rule('allows')])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        question.answer(True)
        self.result(pending).close()

    def test_open_questions_are_bounded(self):
        self.start()
        asked = [self.ask(self.nic) for _ in range(4)]
        pending, question = self.ask(self.nic)
        self.assertIsNone(question)
        with self.refused('LimitExceeded', '4 requests'):
            self.result(pending)
        for _, question in asked:
            question.answer(False)
        for pending, _ in asked:
            with self.refused('NotAuthorized'):
                self.result(pending)
        pending, question = self.ask(self.nic)
        question.answer(True)
        self.result(pending).close()

    def test_who_waits_for_a_person_gets_an_answer_when_vfiod_stops(self):
        self.start()
        pending, _ = self.ask(self.nic)
        self.daemon.stop()
        with self.refused('ShuttingDown'):
            self.result(pending)


class LimitTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.one = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.two = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.three = self.host.add_device('0000:08:00.0', group=10, driver=VFIO)
        self.c = self.client()

    def use(self, **limits):
        self.set_policy([self.rule(limits=limits)])

    def test_claims_and_devices(self):
        self.use(claims=2, **{'devices-per-user': 2})
        self.start()
        both = self.c.acquire(self.one, self.two)
        with self.refused('LimitExceeded', 'devices-per-user', 'test ('):
            self.c.acquire(self.three)
        both.close()
        self.wait_gone(both)
        first, second = self.c.acquire(self.one), self.c.acquire(self.two)
        with self.refused('LimitExceeded', '"claims" is 2: 2 in use'):
            self.c.acquire(self.three)
        first.close()
        self.wait_gone(first)
        self.c.acquire(self.three).close()
        second.close()

    def test_limits_survive_reload_and_restart(self):
        self.use(claims=1)
        self.start()
        claim = self.c.acquire(self.one)
        self.use(claims=1)
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('LimitExceeded', '"claims"'):
            self.c.acquire(self.two)
        self.daemon.stop()
        self.start(keep_fds=True)
        with self.refused('LimitExceeded', '"claims"'):
            self.c.acquire(self.two)
        self.use(claims=2)
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.c.acquire(self.two).close()
        claim.close()

    def test_a_claim_that_drains_still_counts(self):
        self.use(claims=1)
        self.start()
        claim = self.c.acquire(self.one)
        claim.close('lifeline')
        wait(lambda: claim.state == 'draining', 'it drains')
        with self.refused('LimitExceeded', '"claims"'):
            self.c.acquire(self.two)
        claim.close()
        self.wait_gone(claim)

    def test_a_failed_claim_counts_no_more(self):
        nic = self.host.add_device('0000:09:00.0', group=11, driver='e1000e')
        self.use(claims=1)
        self.start()
        self.kernel.fail('bind', nic.address, times=1)
        with self.refused('BindFailed'):
            self.c.acquire(nic)
        self.c.acquire(self.one).close()

    def test_a_reason_may_be_wanted(self):
        self.set_policy([self.rule(reason='required')])
        self.start()
        with self.refused('ReasonRequired', '--reason'):
            self.c.acquire(self.one)
        self.c.acquire(self.one, reason='a test').close()


class MemlockTest(VfiodTestCase):
    """Which limit another process gets, so the client is one that is not this test itself."""

    CLIENT = '''
import json, os, resource, sys, dbus
if sys.argv[2] != "-": resource.setrlimit(resource.RLIMIT_MEMLOCK, tuple(map(int, sys.argv[2].split(","))))
bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
try:
    _, result, fds = bus.call_blocking("org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager", "Acquire", "asa{sv}",
                                       (["0000:06:00.0"], {"memlock": dbus.UInt64(int(sys.argv[1]))}), 20)
    outcome = int(result["memlock"])
except dbus.DBusException as e:
    outcome = str(e)
print(json.dumps([outcome, resource.getrlimit(resource.RLIMIT_MEMLOCK)]))
'''

    BEFORE = '65536,1048576'

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.set_policy([{**self.rule(memlock='1G', limits={'pinned': '1G'}), 'who': {}}])
        self.start()

    def acquire(self, memlock, user=None):
        process = self.tool(sys.executable, '-c', self.CLIENT, str(memlock), self.BEFORE, user=user)
        output, _ = process.communicate(timeout=harness.CALL_TIMEOUT)
        self.assertEqual(process.returncode, 0, output)
        wait(lambda: self.records() == [], 'its claim ends')
        return json.loads(output)

    def test_the_soft_limit_up_to_the_hard_one(self):
        self.assertEqual(self.acquire(1 << 19), [1 << 19, [1 << 19, 1 << 20]])

    def test_it_is_never_lowered(self):
        self.assertEqual(self.acquire(4096), [4096, [1 << 16, 1 << 20]])

    def test_no_more_than_the_rule_says(self):
        outcome, limits = self.acquire(1 << 31)
        self.assertIn('raise the locked-memory limit to 1G at most', outcome)
        self.assertEqual(limits, [1 << 16, 1 << 20])

    def has_capability(self):
        with open('/proc/self/status') as f:
            return int(re.search(r'CapEff:\s*(\w+)', f.read()).group(1), 16) >> 24 & 1

    @needs_root
    def test_another_user(self):
        outcome, limits = self.acquire(1 << 29, user=NOBODY)
        if self.has_capability():
            self.assertEqual((outcome, limits), (1 << 29, [1 << 29, 1 << 29]))
        else:  # where these tests run the daemon may have less than its unit gives it: the claim must fail then
            self.assertIn('CAP_SYS_RESOURCE', outcome)
            self.assertEqual(limits, [1 << 16, 1 << 20])


class PinnedTest(VfiodTestCase):
    """A limit that was raised is put back, and counts for as long as a process has it."""

    CLIENT = '''
import json, os, resource, sys, dbus
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 1 << 20))
bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
held = []
for line in sys.stdin:
    device, memlock = line.split()
    outcome = "ok"
    if device == "limit":
        if memlock != "0":
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (int(memlock), resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
    elif device == "release":
        while held:
            os.close(held.pop())
    else:
        options = {"memlock": dbus.UInt64(int(memlock))} if memlock != "0" else {}
        try:
            held += [fd.take() for _, fd in bus.call_blocking("org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager",
                                                               "Acquire", "asa{sv}", ([device], options), 20)[2]]
        except dbus.DBusException as e:
            outcome = e.get_dbus_name()
    print(json.dumps([outcome, resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]]), flush=True)
'''

    def setUp(self):
        super().setUp()
        self.one = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.two = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.set_policy([self.rule(memlock='512K', limits={'pinned': '512K'})])
        self.start()

    def program(self):
        return self.tool(sys.executable, '-c', self.CLIENT, stdin=subprocess.PIPE)

    def ask(self, process, device, memlock=0):
        process.stdin.write(f'{getattr(device, "address", device)} {memlock}\n')
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    def end(self, process):
        process.stdin.close()
        process.wait()

    def test_it_is_put_back(self):
        p, q = self.program(), self.program()
        self.assertEqual(self.ask(p, self.one, 1 << 19), ['ok', 1 << 19])
        self.assertEqual(self.ask(q, self.two, 1 << 19), ['org.vfiod1.Error.LimitExceeded', 1 << 16])
        self.ask(p, 'release')
        wait(lambda: self.records() == [], 'its claim ends')
        self.assertEqual(self.ask(p, self.one), ['ok', 1 << 16])
        self.assertEqual(self.ask(q, self.two, 1 << 19), ['ok', 1 << 19])
        self.end(p)
        self.end(q)

    def test_it_is_a_figure(self):
        def figures():
            return {str(name): int(value) for name, labels, value in self.client().get(ROOT_PATH, 'Manager', 'Figures')
                    if not labels}

        self.assertEqual(figures()['locked-memory-allowed'], 0)
        p = self.program()
        self.assertEqual(self.ask(p, self.one, 1 << 18), ['ok', 1 << 18])
        self.assertEqual(figures()['locked-memory-allowed'], 1 << 18)
        self.assertEqual(figures()['locked-memory'], 0)
        self.end(p)
        wait(lambda: figures()['locked-memory-allowed'] == 0, 'its claim ends')

    def test_not_below_what_another_claim_needs(self):
        p = self.program()
        self.assertEqual(self.ask(p, self.one, 1 << 18), ['ok', 1 << 18])
        q = self.program()
        self.assertEqual(self.ask(p, self.two, 1 << 17), ['ok', 3 << 17])
        self.ask(p, 'release')  # both
        wait(lambda: self.records() == [], 'its claims end')
        self.assertEqual(self.ask(p, self.one), ['ok', 1 << 16])
        self.end(p)
        self.end(q)

    def test_a_restart_puts_nothing_back(self):
        p = self.program()
        self.assertEqual(self.ask(p, self.one, 1 << 19), ['ok', 1 << 19])
        self.daemon.stop()
        self.manager.hear_all()
        self.start(keep_fds=True)
        self.assertEqual(self.ask(p, 'release'), ['ok', 1 << 19])
        wait(lambda: self.records() == [], 'its claim ends')
        self.assertEqual(self.ask(p, 'limit'), ['ok', 1 << 19])
        self.end(p)

    def test_one_that_the_process_has_set_counts_until_it_ends(self):
        p, q = self.program(), self.program()
        self.assertEqual(self.ask(p, self.one, 1 << 19), ['ok', 1 << 19])
        self.assertEqual(self.ask(p, 'limit', 400 << 10), ['ok', 400 << 10])
        self.ask(p, 'release')
        wait(lambda: self.records() == [], 'its claim ends')
        self.assertEqual(self.ask(p, self.one), ['ok', 400 << 10])
        self.assertEqual(self.ask(q, self.two, 1 << 19), ['org.vfiod1.Error.LimitExceeded', 1 << 16])
        self.end(p)
        wait(lambda: self.records() == [], 'its claim ends')
        self.assertEqual(self.ask(q, self.two, 1 << 19), ['ok', 1 << 19])
        self.end(q)

    def test_claims_of_a_process_add_up(self):
        p = self.program()
        self.assertEqual(self.ask(p, self.one, 1 << 18), ['ok', 1 << 18])
        self.assertEqual(self.ask(p, self.two, 1 << 18), ['ok', 1 << 19])
        self.end(p)


class ActionsTest(unittest.TestCase):
    path = SOURCE / 'policy' / 'org.vfiod1.policy'

    def test_the_file_is_xml(self):
        subprocess.run(['xmllint', '--noout', '--nonet', self.path], check=True)

    def test_it_has_every_action_that_is_asked_for(self):
        code = set(re.findall(r'#define AUTH_ACTION_\w+ "([\w.]+)"', (SOURCE / 'src/daemon/broker/polkit.h').read_text()))
        self.assertEqual(set(re.findall(r'<action id="([\w.]+)">', self.path.read_text())), code)


if __name__ == '__main__':
    harness.main()

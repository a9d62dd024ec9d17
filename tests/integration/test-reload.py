#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A policy that changes while the daemon runs, and one that is only tried out."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import harness
from harness import NAME, NOBODY, ROOT_PATH, VfiodTestCase, needs_root, wait
from host import VFIO


class PolicyTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.shadow = f'{self.directory}/shadow.d'

    def daemon_arguments(self):
        return [*super().daemon_arguments(), f'--shadow-directory={self.shadow}']

    def reload(self, *rules):
        if rules:
            self.set_policy(list(rules))
        self.c.manager('ReloadPolicy', 'a{sv}', {})

    def get(self, name):
        return self.c.get(ROOT_PATH, 'Manager', name)


class AccountsTest(PolicyTestCase):
    """Names of users come from a directory that may be late, lose people, or hang."""

    def setUp(self):
        super().setUp()
        self.accounts = pathlib.Path(self.directory) / 'passwd'
        self.know()
        os.environ['VFIOD_TEST_ACCOUNTS'] = str(self.accounts)
        self.addCleanup(os.environ.pop, 'VFIOD_TEST_ACCOUNTS')

    def know(self, **users):
        new = self.accounts.with_name('passwd.new')
        new.write_text(''.join(f'{name}:x:{uid}:{uid}::/:/bin/false\n' for name, uid in users.items()))
        new.rename(self.accounts)

    def hang(self):
        fifo = self.accounts.with_name('passwd.fifo')
        if not fifo.exists():
            os.mkfifo(fifo)
        fifo.rename(self.accounts)

    def unhang(self):
        """Whoever waits for a writer gets an empty directory."""
        fifo = self.accounts.with_name('passwd.fifo')
        self.accounts.rename(fifo)
        self.know(**self.people)
        fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        os.write(fd, ''.join(f'{n}:x:{u}:{u}::/:/bin/false\n' for n, u in self.people.items()).encode())

    def test_an_unknown_name_denies_nobody_else(self):
        self.set_policy([self.rule(name='absent', user='ada.ldap', device='07:00.0'), self.rule(name='me')])
        self.start()
        self.c = self.client()
        self.assertEqual(self.get('PolicyState'), 'loaded')
        self.assertEqual(self.get('PolicyErrors'), [])
        self.assertIn('unknown user "ada.ldap"', self.get('PolicyWarnings')[0])
        self.c.acquire(self.nic).close()

    def test_an_unknown_name_in_a_deny_rule_denies(self):
        self.set_policy([self.rule(name='not-ada', effect='deny', user='ada.ldap', device='07:00.0'), self.rule()])
        self.start()
        self.c = self.client()
        with self.refused('AccessDenied'):
            self.c.acquire(self.disk)
        self.c.acquire(self.nic).close()
        self.know(**{'ada.ldap': 70001})
        wait(lambda: self.log_lines('now resolve'), 'it is looked up again')
        self.c.acquire(self.disk).close()

    def test_a_late_directory(self):
        self.set_policy([self.rule(user='me.ldap')])
        self.start()
        self.c = self.client()
        with self.refused('AccessDenied'):
            self.c.acquire(self.nic)
        seen = len(self.c.events)
        self.know(**{'me.ldap': os.getuid()})
        wait(lambda: any(e[:2] == ('PropertiesChanged', ROOT_PATH) for e in self.c.events[seen:]), 'it is announced')
        self.c.acquire(self.nic).close()

    def test_reload_looks_again(self):
        self.set_policy([self.rule(user='me.ldap')])
        self.start()
        self.c = self.client()
        self.know(**{'me.ldap': os.getuid()})
        self.reload()
        self.assertEqual(self.get('PolicyWarnings'), [])
        self.c.acquire(self.nic).close()

    def test_a_directory_that_hangs_stops_nobody(self):
        self.start()
        self.c = self.client()
        self.people = {'me.ldap': os.getuid()}
        self.hang()
        self.set_policy([self.rule(name='mine', user='me.ldap')])
        answers = []
        self.c.connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', 'ReloadPolicy', 'a{sv}', ({},),
                                     lambda: answers.append(None), answers.append, harness.CALL_TIMEOUT)
        # Somebody else is served, by the policy of before.
        claim = self.client().acquire(self.nic)
        self.assertEqual(claim.result['rule'].split()[0], 'test')
        claim.close()
        self.assertEqual(answers, [])
        self.unhang()
        wait(lambda: answers, 'the reload is answered')
        self.assertEqual(answers, [None])
        claim = self.c.acquire(self.disk)
        self.assertEqual(claim.result['rule'].split()[0], 'mine')
        claim.close()

    def test_a_stop_while_the_first_look_up_hangs(self):
        self.hang()
        self.set_policy([self.rule(user='me.ldap')])
        self.daemon = harness.Daemon(self)
        directory = os.open(self.accounts, os.O_WRONLY)  # comes back when somebody has it open for reading
        self.addCleanup(os.close, directory)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(self.log_lines('Cannot'), [])

    def test_a_change_of_the_local_accounts_is_noticed(self):
        etc = pathlib.Path(self.directory) / 'etc'
        etc.mkdir()
        os.environ['VFIOD_TEST_ETC'] = str(etc)
        self.addCleanup(os.environ.pop, 'VFIOD_TEST_ETC')
        self.set_policy([self.rule(user='me.ldap')])
        self.start('--log-level=debug')
        self.c = self.client()
        for name in ('passwd', 'group', 'nsswitch.conf'):
            self.know()
            self.reload()
            known = len(self.log_lines('now resolve'))
            self.know(**{'me.ldap': os.getuid()})
            (etc / f'{name}.new').write_text('')
            (etc / f'{name}.new').rename(etc / name)
            wait(lambda: self.log_lines(f'{name} changed'), 'the change is noticed')  # the timer does not say that
            wait(lambda: len(self.log_lines('now resolve')) > known, 'it is looked up again')
        self.c.acquire(self.nic).close()

    def test_a_name_of_digits(self):
        self.know(**{'20231234': os.getuid()})
        self.set_policy([self.rule(user='20231234')])
        self.start()
        self.c = self.client()
        self.assertIn('is taken for the name of the user with uid', self.get('PolicyWarnings')[0])
        self.c.acquire(self.nic).close()


HOLD = f'''
import sys, dbus.bus
bus = dbus.bus.BusConnection(sys.argv[1])
claim, _, fds = bus.call_blocking("{NAME}", "{ROOT_PATH}", "{NAME}.Manager", "Acquire", "asa{{sv}}", ([sys.argv[2]], {{}}))
print(claim.rsplit("/", 1)[1], flush=True)
sys.stdin.read()
'''


class OperatorTest(PolicyTestCase):
    @needs_root
    def test_the_journal_names_who_reloads(self):
        self.start()
        self.c = self.client()
        self.reload(self.rule())
        self.assertEqual(len(self.log_lines('uid 0 reloads the policy', 'VFIOD_ACTION=reload VFIOD_UID=0 '
                                            f'VFIOD_PID={os.getpid()} ', 'VFIOD_COMMAND=python3')), 1)
        os.kill(self.daemon.pid, signal.SIGHUP)
        wait(lambda: len(self.log_lines('uid 0 reloads the policy', f'VFIOD_PID={os.getpid()}')) == 2,
             'the signal is noted')

    @needs_root
    def test_the_journal_names_who_ends_a_claim_of_another(self):
        self.set_policy([self.rule(user=NOBODY)])
        self.start()
        self.c = self.client()
        hold = self.tool(sys.executable, '-c', HOLD, self.bus.address, self.nic.name, user=NOBODY,
                         stdin=subprocess.PIPE)
        self.addCleanup(hold.stdin.close)
        claim = hold.stdout.readline().strip()
        self.c.manager('Release', 'sa{sv}', claim, {})
        self.assertEqual(len(self.log_lines(f'uid 0 released claim {claim} of uid {NOBODY}: {self.nic.name}',
                                            f'VFIOD_ACTION=release VFIOD_UID=0 VFIOD_PID={os.getpid()} ',
                                            f'VFIOD_CLAIM_UID={NOBODY}')), 1)


class ReviewTest(PolicyTestCase):
    """Claims that the policy of now would not allow."""

    def setUp(self):
        super().setUp()
        self.start()
        self.c = self.client()

    def denied(self):
        return [str(path) for path in self.get('ClaimsDeniedByPolicy')]

    def test_claims_are_kept_and_listed(self):
        nic, disk = self.c.acquire(self.nic), self.c.acquire(self.disk)
        self.assertEqual(self.denied(), [])
        self.reload(self.rule(name='disks', device='07:00.0'))
        self.assertEqual(self.denied(), [nic.path])
        self.assertEqual((nic.state, disk.state), ('held', 'held'))
        self.assertEqual(len(self.log_lines(f'Claim {nic.id}', 'is kept', 'no rule')), 1)
        self.reload(self.rule(name='never', effect='deny'))
        self.assertEqual(sorted(self.denied()), sorted([nic.path, disk.path]))
        self.assertEqual(len(self.log_lines(f'Claim {disk.id}', 'never (')), 1)
        # It is about the policy of now.
        self.reload(self.rule())
        self.assertEqual(self.denied(), [])
        nic.close()
        disk.close()

    def test_what_ends_is_not_listed(self):
        nic = self.c.acquire(self.nic)
        self.reload(self.rule(effect='deny'))
        self.assertEqual(self.denied(), [nic.path])
        seen = len(self.c.events)
        nic.close()
        self.wait_gone(nic)
        self.assertEqual(self.denied(), [])
        wait(lambda: any(e[:2] == ('PropertiesChanged', ROOT_PATH) for e in self.c.events[seen:]), 'it is announced')

    def test_by_signal(self):
        nic = self.c.acquire(self.nic)
        self.set_policy([self.rule(effect='deny')])
        self.daemon.process.send_signal(signal.SIGHUP)
        wait(lambda: self.c.seen('PropertiesChanged', ROOT_PATH), 'the policy is announced')
        self.assertEqual(self.denied(), [nic.path])
        nic.close()

    def test_set_with_errors_denies_nothing(self):
        nic = self.c.acquire(self.nic)
        self.set_policy([], text='{ "rules": [ 7 ] }')
        with self.refused('PolicyBroken'):
            self.reload()
        self.assertEqual((self.denied(), self.get('PolicyState')), ([], 'stale'))
        nic.close()

    def test_backend_that_is_not_allowed_any_more(self):
        disk = self.c.acquire(self.disk)
        self.reload(self.rule(backend=['group']))
        self.assertEqual(self.denied(), [disk.path])
        disk.close()

    def test_driver_before_the_claim(self):
        """The rule speaks of the driver that the claim took the device from."""
        rule = self.rule(name='by-driver')
        rule['what']['driver'] = 'e1000e'
        self.reload(rule)
        nic = self.c.acquire(self.nic)
        self.reload(rule, self.rule(name='another', device='99:00.0'))
        self.assertEqual(self.denied(), [])
        nic.close()

    def test_facts(self):
        """A fact that is not read of a claimed device is no reason for an alarm."""
        rule = self.rule(name='facts', device='06:00.0')
        rule['what']['isolation'] = {'reset': True}
        self.reload(rule)
        nic = self.c.acquire(self.nic)
        self.reload(rule, self.rule(name='another', device='99:00.0'))
        self.assertEqual(self.denied(), [])
        rule['what']['isolation'] = {'acs': True}
        self.reload(rule)
        self.assertEqual(self.denied(), [])
        self.wait_logged(nic.id, 'is unknown')
        rule['what']['numa'] = 7
        self.reload(rule)
        self.assertEqual(self.denied(), [nic.path])
        nic.close()

    def test_after_a_restart(self):
        """What the policy saw of the owner is on record: his groups are not asked for again."""
        by_group = {**self.rule(name='by-group'), 'who': {'group': os.getgid()}}
        self.reload(by_group)
        nic, disk = self.c.acquire(self.nic), self.c.acquire(self.disk)
        wait(lambda: len(self.manager.fds) == 2, 'the lifelines are with the service manager')
        self.daemon.kill()
        by_group['what'] = {'device': '06:00.0'}
        self.set_policy([by_group])
        self.c.close()
        self.start(keep_fds=True)
        self.manager.forget()
        self.c = self.client()
        self.assertEqual(self.denied(), [disk.path])
        nic.close()
        disk.close()

    def test_warnings(self):
        self.reload(self.rule(name='all', device='*'), self.rule(name='never', device='06:00.0'))
        warning, = self.get('PolicyWarnings')
        self.assertIn('never', warning)
        self.assertEqual(self.get('PolicyState'), 'loaded')
        self.wait_logged(warning)
        self.reload(self.rule())
        self.assertEqual(self.get('PolicyWarnings'), [])

    @needs_root
    def test_warnings_are_not_for_strangers(self):
        self.reload(self.rule(name='all', device='*'), self.rule(name='never', device='06:00.0'))
        script = ('import dbus, sys\n'
                  'bus = dbus.bus.BusConnection(sys.argv[1])\n'
                  'for i in range(3):\n'
                  '    print(len(bus.call_blocking("org.vfiod1", "/org/vfiod1", "org.freedesktop.DBus.Properties", "Get",\n'
                  '                                "ss", ("org.vfiod1.Manager", "PolicyWarnings"), 20)))\n')
        for user, expected in ((NOBODY, '0\n0\n0\n'), (None, '1\n1\n1\n')):
            process = self.tool(sys.executable, '-c', script, self.bus.address, user=user)
            self.assertEqual(process.communicate(timeout=30)[0], expected)

    @needs_root
    def test_errors_are_not_for_strangers(self):
        """Where they are, and not what is written there; nor does the signal tell."""
        path = self.set_policy([{**self.rule(name='of-bob'), 'who': {'user': 'secret-bob*'}}])
        with self.refused('PolicyBroken', 'secret-bob'):
            self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertIn('secret-bob', self.get('PolicyErrors')[0])
        said = self.busctl('get-property', NAME, ROOT_PATH, NAME + '.Manager', 'PolicyErrors', user=NOBODY)[1]
        self.assertIn(path, said)
        self.assertTrue(said.endswith(': error"\n'), said)
        said = self.busctl('get-property', NAME, ROOT_PATH, NAME + '.Manager', 'PolicyErrors')[1]
        self.assertIn('secret-bob', said)
        changed = [e[2] for e in self.c.events if e[0] == 'PropertiesChanged' and e[1] == ROOT_PATH]
        self.assertNotIn('secret-bob', str(changed))


class InForceTest(PolicyTestCase):
    """The policy as the daemon has it, which may not be what the files say."""

    def rules(self, **options):
        return [(rule, effect, line) for rule, effect, _, line, _ in self.get('Rules', **options)]

    def begin(self):
        self.set_policy([self.rule(name='one', user=os.getuid()), self.rule(name='two', user=NOBODY, device='07:00.0')])
        self.start()
        self.c = self.client()

    def test_rules_in_order(self):
        self.begin()
        first, second = self.get('Rules')
        path = f'{self.directory}/policy.d/50-test.json'
        self.assertEqual(tuple(first)[:4], ('one', 'allow', path, 3))
        self.assertEqual(dict(first[4]), {'who.user': str(os.getuid()), 'what.device': '*'})
        self.assertEqual((second[0], dict(second[4])['what.device']), ('two', '07:00.0'))
        self.assertNotIn('Rules', self.c.properties(ROOT_PATH, 'Manager'))

    def test_generations(self):
        self.begin()
        generation, digest, loaded = (self.get(f'Policy{name}') for name in ('Generation', 'Digest', 'Loaded'))
        self.assertEqual((generation, len(digest)), (1, 16))
        self.assertGreater(loaded, 0)
        self.reload()
        self.assertEqual((self.get('PolicyGeneration'), self.get('PolicyDigest')), (2, digest))
        self.assertGreater(self.get('PolicyLoaded'), loaded)
        loaded = self.get('PolicyLoaded')
        self.set_policy([], text='{')
        with self.refused('PolicyBroken'):
            self.reload()
        self.assertEqual([self.get(f'Policy{name}') for name in ('Generation', 'Digest', 'Loaded')], [2, digest, loaded])
        self.assertEqual([name for name, _, _ in self.rules()], ['one', 'two'])
        self.reload(self.rule(name='three'))
        self.assertEqual(self.get('PolicyGeneration'), 3)
        self.assertNotEqual(self.get('PolicyDigest'), digest)
        self.assertEqual([name for name, _, _ in self.rules()], ['three'])

    def test_no_policy(self):
        self.set_policy([], text='{')
        self.start()
        self.c = self.client()
        self.assertEqual([self.get(name) for name in ('Rules', 'PolicyGeneration', 'PolicyLoaded', 'PolicyDigest')],
                         [[], 0, 0, ''])

    @needs_root
    def test_others_see_the_rules_that_concern_them(self):
        """... as in an explanation, and not those of their neighbours."""
        self.begin()
        for name, expected in (('Rules', 'a(sssua{ss}) 1 "two" "allow"'), ('PolicyDigest', 's ""'), ('PolicyGeneration', 't 1')):
            status, said = self.busctl('get-property', NAME, ROOT_PATH, NAME + '.Manager', name, user=NOBODY)
            self.assertEqual(status, 0, said)
            self.assertTrue(said.startswith(expected), said)
            self.assertNotIn('one', said)

    @needs_root
    def test_others_see_so_many(self):
        self.set_policy([self.rule(name=f'rule-{n}', user=NOBODY, device=f'{n:02x}:00.0') for n in range(100)])
        self.start()
        self.c = self.client()
        said = self.busctl('get-property', NAME, ROOT_PATH, NAME + '.Manager', 'Rules', user=NOBODY)[1]
        self.assertTrue(said.startswith('a(sssua{ss}) 64 "rule-0"'), said)
        self.assertEqual(len(self.get('Rules')), 100)


class ShadowTest(PolicyTestCase):
    """A policy that is compared and never decides."""

    def set_shadow(self, rules, text=None):
        os.makedirs(self.shadow, mode=0o755, exist_ok=True)
        path = pathlib.Path(self.shadow) / '50-try.json'
        path.write_text(json.dumps({'rules': rules}) if text is None else text)
        path.chmod(0o644)

    def begin(self):
        self.start()
        self.c = self.client()

    def state(self):
        return str(self.get('ShadowState')), int(self.get('ShadowRules')), int(self.get('ShadowDifferences'))

    def test_none(self):
        self.begin()
        self.c.acquire(self.disk).close()
        self.assertEqual(self.state(), ('none', 0, 0))

    def test_differences(self):
        self.set_policy([self.rule(name='disks', device='07:00.0')])
        self.set_shadow([self.rule(name='nics', device='06:00.0')])
        self.begin()
        self.assertEqual(self.state(), ('loaded', 1, 0))
        # Allowed by the one that decides; the shadow would have said no.
        claim = self.c.acquire(self.disk)
        with self.refused('AccessDenied'):
            self.c.acquire(self.nic)
        self.assertEqual(self.state(), ('loaded', 1, 2))
        lines = self.log_lines('the shadow policy')
        self.assertIn('the policy decides allow (disks (', lines[0])
        self.assertIn('the shadow policy deny (no rule)', lines[0])
        self.assertIn('the policy decides deny (no rule), the shadow policy allow (nics (', lines[1])
        # A plan decides nothing.
        with self.refused('AccessDenied'):
            self.c.plan(self.nic)
        self.assertEqual(self.state(), ('loaded', 1, 2))
        claim.close()
        # And where both agree there is nothing to say.
        self.reload(self.rule(name='nics', device='06:00.0'))
        self.c.acquire(self.nic).close()
        self.assertEqual(self.state(), ('loaded', 1, 0))

    def test_facts(self):
        """Only the shadow asks for them."""
        rule = self.rule(name='unresettable')
        rule['what']['isolation'] = {'reset': False}
        self.set_shadow([rule])
        self.begin()
        self.c.acquire(self.disk).close()
        self.assertEqual(self.state(), ('loaded', 1, 1))

    def test_comes_and_goes(self):
        self.begin()
        self.set_shadow([self.rule(effect='deny')])
        self.reload()
        self.assertEqual(self.state(), ('loaded', 1, 0))
        self.c.acquire(self.disk).close()
        self.assertEqual(self.state(), ('loaded', 1, 1))
        os.unlink(f'{self.shadow}/50-try.json')
        os.rmdir(self.shadow)
        self.reload()
        self.assertEqual(self.state(), ('none', 0, 0))

    def test_errors_do_not_hurt(self):
        self.set_shadow([], text='{ "rules": [ { "efect": "allow" } ] }')
        self.begin()
        self.assertEqual(self.state(), ('broken', 0, 0))
        self.assertEqual(self.get('PolicyState'), 'loaded')
        self.assertIn('efect', self.get('ShadowErrors')[0])
        claim = self.c.acquire(self.disk)
        claim.close()
        self.wait_gone(claim)
        self.set_shadow([self.rule(effect='deny')])
        self.reload()
        self.set_shadow([], text='{')
        self.reload()
        self.assertEqual(self.state(), ('stale', 1, 0))
        self.c.acquire(self.disk).close()
        self.assertEqual(self.state(), ('stale', 1, 1))

    def test_many_differences_are_counted_not_logged(self):
        self.set_policy([self.rule(device='07:00.0')])
        self.set_shadow([self.rule()])
        self.begin()
        for _ in range(50):
            with self.refused('AccessDenied'):
                self.c.acquire(self.nic)
        self.assertEqual(self.state(), ('loaded', 1, 50))
        self.assertEqual(len(self.log_lines('the shadow policy')), 5)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(len(self.log_lines('45 more differences of the shadow policy of uid')), 1)


class CredentialsTest(VfiodTestCase):
    """A policy that systemd gives to the service."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.credentials = pathlib.Path(self.directory, 'credentials')
        self.credentials.mkdir(0o700)
        os.environ['CREDENTIALS_DIRECTORY'] = str(self.credentials)
        self.addCleanup(os.environ.pop, 'CREDENTIALS_DIRECTORY')
        self.set_policy([])

    def give(self, name, text):
        path = self.credentials / name
        path.write_text(text)
        path.chmod(0o400)
        return path

    def test_it_allows_and_is_named_by_its_path(self):
        path = self.give('vfiod.policy.50-nic', json.dumps({'rules': [self.rule('by-credential')]}))
        self.give('passwd.hashed-password.root', 'somebody else\'s')
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        self.assertEqual(claim.result['rule'], f'by-credential ({path}:1)')
        claim.close()

    def test_a_file_of_the_operator_overrides_it(self):
        self.give('vfiod.policy.50-test', json.dumps({'rules': [self.rule()]}))  # as the harness names its file
        self.start()
        with self.refused('AccessDenied'):
            self.client().acquire(self.nic)

    def test_an_error_in_it_is_an_error_of_the_policy(self):
        path = self.give('vfiod.policy.a', '{"rules": [{}]}\0\x1b[31m')
        self.set_policy([self.rule()])
        self.start()
        c = self.client()
        with self.refused('PolicyBroken'):
            c.acquire(self.nic)
        errors = c.get(ROOT_PATH, 'Manager', 'PolicyErrors')
        self.assertTrue(errors and all(str(e).startswith(f'{path}:') for e in errors), errors)
        self.assertFalse([e for e in errors if '\x1b' in e])

    def test_a_directory_that_is_not_there(self):
        os.environ['CREDENTIALS_DIRECTORY'] = f'{self.directory}/missing'
        self.set_policy([self.rule()])
        self.start()
        self.client().acquire(self.nic).close()


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a refusal teaches, to whom, and what it leaves behind."""

import os

import harness
from harness import NAME, NOBODY, ROOT_PATH, Pending, VfiodTestCase, needs_root, wait


class DetailsTest(VfiodTestCase):
    """The parts of a refusal, for who asks for them and may know them."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.file = self.set_policy([{'name': 'mine', 'effect': 'allow', 'who': {'user': os.getuid()},
                                      'what': {'device': '06:00.0', 'driver': 'iavf'}}])
        self.start()

    def error_of(self, method, signature, *arguments):
        """All arguments of the error that a call gives; a blocking call of python3-dbus tells the first only."""
        pending = Pending()
        self.client().connection.call_async(NAME, ROOT_PATH, NAME + '.Manager', method, signature, arguments,
                                            pending.reply, pending.fail, 20)
        wait(lambda: pending.done, f'{method} answers')
        return pending.error.args

    def details(self, *devices, **options):
        names = [getattr(d, 'name', d) for d in devices]
        sentence, details = self.error_of('Acquire', 'asa{sv}', names, {'details': True, **options})
        return str(sentence), {str(k): v for k, v in details.items()}

    def test_nearest_rule(self):
        sentence, details = self.details(self.nic)
        self.assertIn('no rule of the policy allows it', sentence)
        self.assertIn(f'In rule mine ({self.file}:', sentence)
        self.assertEqual(details['device'], self.nic.name)
        self.assertTrue(details['nearest'].startswith('mine ('))
        self.assertEqual(details['predicate'], 'what.driver')
        self.assertEqual(details['wanted'], 'iavf')
        self.assertEqual(details['seen'], 'e1000e')
        self.assertIn('let what.driver (iavf) include e1000e', details['remedy'])
        self.assertNotIn('rule', details)

    def test_rule_that_denies(self):
        self.set_policy([self.rule(name='never', effect='deny')])
        self.client().manager('ReloadPolicy', 'a{sv}', {})
        sentence, details = self.details(self.nic)
        self.assertIn('[rule never (', sentence)
        self.assertEqual((details['rule'], details['file']), (f'never ({self.file}:3)', self.file))
        self.assertEqual(details['line'], 3)

    def test_only_who_asks_gets_them(self):
        for options in ({}, {'details': False}):
            self.assertEqual(len(self.error_of('Acquire', 'asa{sv}', [self.nic.name], options)), 1)

    def test_of_what_is_wrong_before_the_options(self):
        _, details = self.details('nonsense')
        self.assertIn('"nonsense" is not the name of a device', details['reason'])
        self.assertIn('vfioctl list', details['remedy'])

    def test_every_method_takes_it(self):
        c = self.client()
        self.assertEqual(len(self.error_of('Plan', 'asa{sv}', [self.nic.name], {'details': True})), 2)
        self.assertEqual(len(self.error_of('Release', 'sa{sv}', 'x', {'details': True})), 2)
        c.manager('ReloadPolicy', 'a{sv}', {'details': True})
        with self.refused('InvalidArgument', 'details'):
            c.plan(self.nic, details='yes')

    def test_clients_as_they_are_show_the_sentence(self):
        for options in (['0'], ['1', 'details', 'b', 'true']):
            status, output = self.busctl('call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', 'Acquire',
                                         'asa{sv}', '1', '06:00.0', *options)
            self.assertNotEqual(status, 0)
            self.assertIn('no rule of the policy allows it', output)
        gdbus = self.tool('gdbus', 'call', '--system', '-d', 'org.vfiod1', '-o', '/org/vfiod1',
                          '-m', 'org.vfiod1.Manager.Acquire', "['06:00.0']", '{}')
        self.assertIn('no rule of the policy allows it', gdbus.communicate(timeout=20)[0])

    @needs_root
    def test_stranger_hears_nothing(self):
        """What a stranger is told must not depend on the rules that are about others."""
        said = []
        for rules in ([], [self.rule(name='secret')], [self.rule(name='secret', effect='deny')],
                      [self.rule(name='secret', driver='iavf')]):
            for rule in rules:
                rule['what'].update({'driver': rule.pop('driver')} if 'driver' in rule else {})
            self.set_policy(rules)
            self.client().manager('ReloadPolicy', 'a{sv}', {})
            said.append(self.busctl('call', 'org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', 'Acquire', 'asa{sv}',
                                    '1', '06:00.0', '1', 'details', 'b', 'true', user=NOBODY))
        self.assertEqual(len(set(said)), 1, said)
        self.assertIn('no rule of the policy allows it', said[0][1])


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
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(len(self.log_lines('got pci:0000:06:00.0')), 1)
        self.assertEqual(len(self.log_lines('195 more refusals of uid')), 1)


if __name__ == '__main__':
    harness.main()

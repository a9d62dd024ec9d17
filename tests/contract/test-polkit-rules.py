#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rules of polkit in policy/examples/polkit and in org.vfiod1(5) decide as they say. duk is the engine of polkitd."""

import json
import re
import subprocess
import unittest

import harness
from harness import SOURCE

EXAMPLES = SOURCE / 'policy/examples/polkit'

# What polkitd gives to rules. Like there, the first rule that returns something decides.
POLKITD = '''
var rules = [];
var polkit = {
    Result: {NO: "no", YES: "yes", AUTH_SELF: "auth_self", AUTH_SELF_KEEP: "auth_self_keep", AUTH_ADMIN: "auth_admin",
             AUTH_ADMIN_KEEP: "auth_admin_keep", NOT_HANDLED: null},
    addRule: function(rule) { rules.push(rule); }
};
function decide(request) {
    var action = {id: request.id, lookup: function(name) { return request.details[name]; }};
    var subject = request.subject;
    subject.isInGroup = function(group) { return subject.groups.indexOf(group) >= 0; };
    for (var i = 0; i < rules.length; i++) {
        var result = rules[i](action, subject);
        if (result)
            return result;
    }
    return null;
}
'''
BOARD = 'pci:0000:06:0d.0'


def request(action='org.vfiod1.acquire', devices=BOARD, parked='no other device', groups=('users', 'lab'), local=True,
            active=True):
    return {'id': action,
            'details': {'caller': 'alice (1000)', 'devices': devices, 'parked': parked, 'rule': 'r (f:1)', 'reason': '',
                        'network': ''},
            'subject': {'pid': 4242, 'user': 'alice', 'groups': groups, 'seat': 'seat0', 'session': '3', 'local': local,
                        'active': active}}


class PolkitTest(unittest.TestCase):
    def decide(self, rules, **options):
        program = f'{POLKITD}{rules}\nprint(JSON.stringify(decide({json.dumps(request(**options))})));'
        result = subprocess.run(['duk', '/dev/stdin'], input=program, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        self.assertEqual(result.returncode, 0, result.stdout)
        return json.loads(result.stdout)

    def example(self, name):
        return (EXAMPLES / name).read_text()

    def test_a_group_at_the_console(self):
        rules = self.example('50-vfiod-lab.rules')
        self.assertEqual(self.decide(rules), 'yes')
        for options in ({'action': 'org.freedesktop.login1.suspend'}, {'groups': ['users']}, {'local': False},
                        {'active': False}, {'devices': f'{BOARD}, pci:0000:01:00.0'}, {'parked': 'pci:0000:06:0e.0'}):
            self.assertIsNone(self.decide(rules, **options), options)

    def test_nobody_from_afar(self):
        rules = self.example('40-vfiod-no-remote.rules')
        self.assertEqual(self.decide(rules, local=False), 'no')
        self.assertIsNone(self.decide(rules))
        self.assertIsNone(self.decide(rules, action='org.freedesktop.login1.suspend', local=False))

    def test_once_for_some_minutes(self):
        rules = self.example('60-vfiod-keep.rules')
        self.assertEqual(self.decide(rules), 'auth_admin_keep')
        for options in ({'action': 'org.freedesktop.login1.suspend'}, {'local': False}, {'active': False}):
            self.assertIsNone(self.decide(rules, **options), options)

    def test_all_together(self):
        """In the order of their names, as polkit reads them."""
        names = sorted(path.name for path in EXAMPLES.iterdir())
        self.assertEqual(len(names), 3)
        rules = ''.join(map(self.example, names))
        self.assertEqual(self.decide(rules), 'yes')
        self.assertEqual(self.decide(rules, groups=['users']), 'auth_admin_keep')
        self.assertEqual(self.decide(rules, local=False, active=False), 'no')
        self.assertIsNone(self.decide(rules, action='org.freedesktop.login1.suspend'))

    def test_of_the_manual(self):
        page = (SOURCE / 'man/org.vfiod1.5.scd').read_text()
        rules = re.search(r'```\n(polkit\.addRule.*?)```', page, re.S)[1]
        self.assertEqual(self.decide(rules), 'yes')
        self.assertIsNone(self.decide(rules, devices='pci:0000:01:00.0'))
        self.assertEqual(sorted(re.findall(r'_(\d\d-vfiod-\S+?\.rules)_', page)), sorted(path.name for path in EXAMPLES.iterdir()))


if __name__ == '__main__':
    harness.main()

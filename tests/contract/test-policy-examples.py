#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The example of a rehearsal (policy/examples/rehearsal) works as its README says, and its cases would notice when
any rule of the policy were gone, or said something else."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import jsonschema

import harness
from harness import SOURCE

EXAMPLES = SOURCE / 'policy/examples'
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.S)


def load(path):
    return json.loads(TOKEN.sub(lambda m: m[0] if m[0].startswith('"') else ' ', path.read_text()))


class RehearsalTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def vfioctl(self, *arguments, status=0):
        result = subprocess.run([os.environ['VFIOD_TEST_VFIOCTL'], *map(str, arguments)], cwd=EXAMPLES, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout

    def failures(self, policy):
        """Names of the cases that fail with this policy."""
        path = pathlib.Path(self.directory.name) / 'policy.json'
        path.write_text(json.dumps(policy))
        result = subprocess.run(
            [os.environ['VFIOD_TEST_VFIOCTL'], '--json', 'policy', 'test', '--policy', path,
             '--host', 'rehearsal/workshop-host.json', 'rehearsal/workshop-cases.json'],
            cwd=EXAMPLES, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        report = json.loads(result.stdout)['files'][0]
        self.assertEqual(result.returncode == 0, report['failed'] == 0, result.stderr)
        return [case['name'] for case in report['cases'] if not case['passed']]

    def test_as_the_readme_says(self):
        command = re.search(r'\$ vfioctl (policy test .*?)\n\n|\$ vfioctl (policy test .*)\Z',
                            (EXAMPLES / 'README').read_text(), re.S)
        words = (command[1] or command[2]).replace('\\\n', ' ').split()
        n_cases = len(load(EXAMPLES / 'rehearsal/workshop-cases.json')['cases'])
        self.assertGreaterEqual(n_cases, 16)
        self.assertIn(f'{n_cases} passed, 0 failed', self.vfioctl(*words))

    def test_editors_take_the_cases(self):
        schema = json.loads((SOURCE / 'policy/vfiod-policy-test.schema.json').read_text())
        jsonschema.Draft202012Validator(schema).validate(load(EXAMPLES / 'rehearsal/workshop-cases.json'))

    def test_the_host_has_the_accounts(self):
        self.vfioctl('policy', 'check', '--host', 'rehearsal/workshop-host.json', '70-workshop.json')

    def test_no_rule_can_go(self):
        policy = load(EXAMPLES / '70-workshop.json')
        self.assertGreaterEqual(len(policy['rules']), 8)
        for rule in policy['rules']:
            with self.subTest(rule['name']):
                without = [r for r in policy['rules'] if r is not rule]
                self.assertNotEqual(self.failures({**policy, 'rules': without}), [])

    def test_no_key_can_go(self):
        """Of WHO and WHAT: a rule that asks for less is one that somebody would notice."""
        policy = load(EXAMPLES / '70-workshop.json')
        unnoticed = set()
        for i, rule in enumerate(policy['rules']):
            for section in ('who', 'what'):
                for key in rule[section]:
                    less = {k: v for k, v in rule[section].items() if k != key}
                    rules = [*policy['rules'][:i], {**rule, section: less}, *policy['rules'][i + 1:]]
                    if not self.failures({**policy, 'rules': rules}):
                        unnoticed.add(f'{rule["name"]}: {section}.{key}')
        self.assertEqual(unnoticed, set())


if __name__ == '__main__':
    harness.main()

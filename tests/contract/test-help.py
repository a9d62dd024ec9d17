#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `vfioctl help` shows and what vfioctl(1) describes is the same: verbs, options, and which verb takes which option."""

import json
import os
import re
import subprocess
import unittest

import harness
from harness import SOURCE

VFIOCTL = os.environ['VFIOD_TEST_VFIOCTL']
MANUAL = (SOURCE / 'man/vfioctl.1.scd').read_text()


def help_of(*words):
    return subprocess.run([VFIOCTL, 'help', *words], check=True, text=True, stdout=subprocess.PIPE).stdout


def options_in_help(text):
    """{long option: the rest of its lines} of the lines below "Options:"."""
    found = {}
    for line in text.split('\nOptions:\n')[1].split('\n\n')[0].splitlines():
        option = re.match(r'  (?:-\w, |    )--([a-z-]+)\S*\s+(.*)', line)
        if option:
            found[option[1]] = option[2]
        else:
            found[list(found)[-1]] += ' ' + line.strip()
    return found


def verbs_of_help():
    return [name.strip() for name in
            re.findall(r'^  ((?:policy )?[a-z][a-z-]*)', help_of().split('\nOptions:\n')[0].split('\nVerbs:\n')[1], re.M)]


def section(name):
    return re.search(rf'^# {name}\n(.*?)(?=^# )', MANUAL, re.M | re.S)[1]


def paragraphs(text):
    """(heading, body) of what is described: headings begin a line, bodies are indented."""
    return [(m[1], ' '.join(m[2].split())) for m in re.finditer(r'^((?:\*.*\n)+)((?:(?:\t.*)?\n)+)', text, re.M)]


def options_of(text):
    return set(re.findall(r'\*--([a-z][a-z-]*)', text))


def takers(body):
    """*exec*, *policy explain*: … *release*: …"""
    found = set()
    for names in re.findall(r'(?:^|[.:;] )((?:\*[a-z -]+\*(?:, | and )?)+): ', body):
        found |= set(re.findall(r'\*([a-z -]+)\*', names))
    return found


class HelpTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.verbs = verbs_of_help()
        self.assertGreater(len(self.verbs), 30)
        everywhere = [set(options_in_help(help_of(*verb.split()))) for verb in self.verbs]
        self.common = set.intersection(*everywhere)
        self.takes = {verb: options - self.common for verb, options in zip(self.verbs, everywhere)}

    def taken_by(self, option):
        return {verb for verb in self.verbs if option in self.takes[verb]}

    def test_the_help_of_all_names_the_verbs_of_each_option(self):
        shown = options_in_help(help_of())
        self.assertEqual(set(shown), set.union(self.common, *self.takes.values()))
        for option, text in shown.items():
            verbs = ', '.join(verb for verb in self.verbs if option in self.takes[verb])
            self.assertTrue(text.startswith(f'{verbs}: ' if verbs else ''), f'--{option}: {text}; taken by {verbs}')

    def test_the_help_of_the_policy_verbs_names_these_alone(self):
        shown = options_in_help(help_of('policy'))
        group = [verb for verb in self.verbs if verb.startswith('policy ')]
        self.assertEqual(set(shown), self.common | set.union(*(self.takes[verb] for verb in group)))
        for option, text in shown.items():
            verbs = ', '.join(verb.split()[1] for verb in group if option in self.takes[verb])
            self.assertTrue(text.startswith(f'{verbs}: ' if verbs else ''), f'--{option}: {text}; taken by {verbs}')

    def test_the_manual_describes_each_verb_with_options_that_it_takes(self):
        described = set()
        for heading, body in paragraphs(section('VERBS') + section('REHEARSING A POLICY')):
            verb = next(v for v in sorted(self.verbs, key=len, reverse=True) if heading.startswith(f'*{v}*'))
            described.add(verb)
            self.assertLessEqual(options_of(heading), self.takes[verb] | self.common, heading)
        self.assertEqual(described, set(self.verbs))

    def test_the_synopsis_has_each_verb_with_options_that_it_takes(self):
        named = set()
        for line in section('SYNOPSIS').strip().splitlines():
            words = re.sub(r'^\*vfioctl\* (\[_OPTION_\.\.\.\] )?', '', line)
            verbs = re.match(r'\*([a-z-]+(?: [a-z]+)?)\*((?:\|\*[a-z-]+\*)*)', words)
            self.assertTrue(verbs, line)
            first = verbs[1].split()
            here = [verbs[1]] + [' '.join(first[:-1] + [other]) for other in re.findall(r'\|\*([a-z-]+)\*', verbs[2])]
            named |= set(here)
            for verb in here:
                self.assertIn(verb, self.verbs, line)
                self.assertLessEqual(options_of(words), self.takes[verb] | self.common, line)
        self.assertEqual(named, set(self.verbs))

    def test_the_manual_describes_each_option_with_the_verbs_that_take_it(self):
        described = {}
        for heading, body in paragraphs(section('OPTIONS')):
            for option in options_of(heading):
                self.assertNotIn(option, described)
                described[option] = takers(body)
        self.assertEqual(set(described), set.union(self.common, *self.takes.values()))
        self.assertEqual({option: sorted(verbs) for option, verbs in described.items()},
                         {option: sorted(self.taken_by(option)) for option in described})

    def test_the_members_of_json_are_those_of_the_manual(self):
        """Of verbs that need no daemon."""
        host, policy = SOURCE / 'policy/examples/rehearsal/workshop-host.json', SOURCE / 'policy/examples/70-workshop.json'
        old = SOURCE / 'policy/examples/10-never.json'
        for verb, arguments in (
                ('setup', ['01:00.0', '--user', 'ada', '--qemu', '--host', host, '--policy', policy]),
                ('memlock-for', ['--ram', '4G']),
                ('topology', ['--host', host]),
                ('policy check', ['--host', host, policy]),
                ('policy show', ['--host', host, policy]),
                ('policy explain', ['--host', host, '--policy', policy, '--user', 'ada', '01:00.0']),
                ('policy diff', ['--host', host, old, policy]),
                ('policy generate', ['--host', host])):
            with self.subTest(verb=verb):
                body = next(body for heading, body in paragraphs(section('JSON')) if f'*{verb}*' in heading)
                members = re.sub(r'\([^)]*\)', '', re.match(r'\{(.*?)\}', body)[1])
                shown = subprocess.run([VFIOCTL, *verb.split(), '--json', *arguments], text=True, stdout=subprocess.PIPE).stdout
                self.assertEqual(sorted(re.findall(r'\w+', members)), sorted(json.loads(shown)))


if __name__ == '__main__':
    harness.main()

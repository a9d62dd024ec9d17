#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One thing has one word. Every name of the policy, of D-Bus, of Varlink and of the options is in docs/glossary.md, at one
term; and what the manuals avoid stays avoided."""

import collections
import json
import os
import re
import subprocess
import unittest
import xml.etree.ElementTree

import harness
from harness import SOURCE

VFIOCTL = os.environ['VFIOD_TEST_VFIOCTL']

# The words of the field instead of ours: what to write is beside them.
AVOIDED = {
    r'\bleases?\b': 'claim',
    r'\bby hand\b': 'manually',
    r'\bmends?\b': 'fix',
    r'\bfor good\b': 'permanently',
    r'\ba (yes|no)\b(?! longer)': 'allow, deny',
    r'\bspeaks? of\b': 'mention, match',
    r'\b(he|his|him|himself|herself)\b': 'they',
    r'\bput (it )?right\b': 'restore, fix',
    r'\bwants to hear\b': 'requires',
    r'\btold\b': 'report',
    r'\bshall\b': 'must, will',
}


def spelled(name):
    """DriverOverride, driver_override and driver-override are the same name."""
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '-', name).replace('_', '-').lower()


def bus_names():
    root = xml.etree.ElementTree.parse(SOURCE / 'dbus/org.vfiod1.xml').getroot()
    for tag in ('method', 'property', 'signal', 'arg'):
        yield from (e.get('name') for e in root.iter(tag) if e.get('name'))


def varlink_names():
    text = re.sub(r'#.*', '', (SOURCE / 'varlink/org.vfiod.Broker.varlink').read_text())
    yield from re.findall(r'\b(\w+)\s*:', text)
    yield from re.findall(r'method (\w+)', text)


def policy_names(schema):
    if isinstance(schema, list):
        for value in schema:
            yield from policy_names(value)
    elif isinstance(schema, dict):
        yield from schema.get('properties', {})
        for value in schema.values():
            yield from policy_names(value)


# What these files build is not for users of --json: messages to QEMU, and recorded hosts, which vfiod-snapshot(5) describes.
OTHER_DOCUMENTS = {'qmp.c', 'hotplug.c', 'snapshot.c'}
NOT_PRINTED = {'found', 'selected'}  # one part of vfioctl gets them from another


def json_names():
    """The members of what vfioctl --json prints, beside the properties, which it has from the daemon."""
    member = re.compile(r'\bjson_(?:add|add_literal|add_string|object_object_add)\(\s*[^,;]+?,\s*"([^"]*)"')
    for path in [*SOURCE.glob('src/client/*.c'), *SOURCE.glob('src/rehearsal/*.c'), *SOURCE.glob('src/pins/*.c')]:
        if path.name not in OTHER_DOCUMENTS:
            yield from set(member.findall(path.read_text())) - NOT_PRINTED


def help_of(*verb):
    return subprocess.run([VFIOCTL, *verb, '--help'], check=True, text=True, stdout=subprocess.PIPE).stdout


def option_names():
    for verb in re.findall(r'^  ([a-z][a-z-]+)', help_of(), re.M):
        yield from re.findall(r'--([a-z][a-z-]+)', help_of(verb))


class GlossaryTest(unittest.TestCase):
    def setUp(self):
        self.glossary = (SOURCE / 'docs/glossary.md').read_text()
        rows = re.findall(r'^\|(.*)\|$', self.glossary, re.M)
        self.names = [name for row in rows for name in re.findall(r'`([^`]+)`', row.rsplit('|', 1)[1])]

    def test_every_option_has_a_bit_of_its_own(self):
        """Two changes that are merged may have taken the same one, and the compiler does not see it."""
        bits = re.findall(r'OPTION_[A-Z_]+ = (?:UINT64_C\(1\)|1) << (\d+),', (SOURCE / 'src/client/vfioctl.c').read_text())
        self.assertGreater(len(bits), 50)
        self.assertEqual([bit for bit, n in collections.Counter(bits).items() if n > 1], [])

    def test_every_name_has_its_term(self):
        faces = {'D-Bus': set(map(spelled, bus_names())),
                 'Varlink': set(map(spelled, varlink_names())),
                 'policy': set(map(spelled, policy_names(json.loads((SOURCE / 'policy/vfiod-policy.schema.json').read_text())))),
                 'JSON': set(map(spelled, json_names())),
                 'options': set(map(spelled, option_names()))}
        for face, names in faces.items():
            self.assertGreater(len(names), 20, face)
        missing = {face: sorted(names - set(self.names)) for face, names in faces.items() if names - set(self.names)}
        self.assertEqual(missing, {}, 'names that docs/glossary.md does not have')
        self.assertEqual(set(self.names) - set().union(*faces.values()), set(), 'names in docs/glossary.md that nothing has')

    def test_json_is_spelled_as_the_glossary_says(self):
        self.assertEqual([name for name in json_names() if not re.fullmatch('[a-z]+([A-Z][a-z]+)*', name)], [])

    def test_no_name_is_of_two_terms(self):
        self.assertEqual([name for name, n in collections.Counter(self.names).items() if n > 1], [])


def strings_of(code):
    """The text of messages, each on its line."""
    code = re.sub(r'/\*.*?\*/', lambda m: '\n' * m[0].count('\n'), code, flags=re.S)
    return '\n'.join(' '.join(re.findall(r'"((?:[^"\\]|\\.)*)"', '' if re.match(r'\s*(#include|static_assert)', line) else line))
                     for line in code.split('\n'))


class WordsTest(unittest.TestCase):
    def texts(self):
        for pattern in ('README.md', 'docs/**/*.md', 'man/*.scd', 'dbus/*.xml', 'varlink/*.varlink', 'units/*'):
            for path in sorted(SOURCE.glob(pattern)):
                if path.is_file():
                    yield path.relative_to(SOURCE), path.read_text()
        yield 'vfioctl --help', help_of()
        for path in sorted(SOURCE.glob('src/**/*.c')):
            yield path.relative_to(SOURCE), strings_of(path.read_text())

    def test_the_words_of_the_field(self):
        found = [f'{name}:{text.count(chr(10), 0, m.start()) + 1}: "{m[0]}", write: {instead}'
                 for name, text in self.texts() for pattern, instead in AVOIDED.items()
                 for m in re.finditer(pattern, text, re.I)]
        self.assertEqual(found, [], '\n'.join(found))


if __name__ == '__main__':
    harness.main()

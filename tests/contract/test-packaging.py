#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the packages repeat agrees with its source: the version, and the symbols of the library. They are built, installed and
upgraded by tools/check."""

import re
import unittest

import harness
from harness import SOURCE

VERSION = re.search(r"^ +version: '([0-9.]+)'", (SOURCE / 'meson.build').read_text(), re.M)[1]


def read(path):
    return (SOURCE / path).read_text()


class PackagingTest(unittest.TestCase):
    def test_version_of_the_debian_package(self):
        self.assertEqual(re.match(r'vfiod \(([0-9.]+)-\d+\) ', read('packaging/debian/changelog'))[1], VERSION)

    def test_version_of_the_rpm_package(self):
        self.assertEqual(re.search(r'^Version: +(\S+)', read('packaging/rpm/vfiod.spec'), re.M)[1], VERSION)

    def test_version_in_the_news(self):
        """The heading may leave out a last zero: "vfiod 0.2"."""
        heading = re.search(r'^## vfiod (\S+)', read('NEWS.md'), re.M)[1]
        self.assertIn(heading, (VERSION, re.sub(r'\.0$', '', VERSION)))

    def test_symbols_of_the_library(self):
        """Each with the version that has brought it: programs that use it depend on that version."""
        exported = {}
        for name, body in re.findall(r'^LIBVFIOD_(\w+) \{\n(.*?)^\}', read('src/client/libvfiod.sym'), re.M | re.S):
            since = '0.1.0' if name == '0' else name.replace('_', '.') + '.0'
            for symbol in [f'LIBVFIOD_{name}', *re.findall(r'^    (\w+);', body, re.M)]:
                exported[f'{symbol}@LIBVFIOD_{name}'] = since
        self.assertIn('vfiod_acquire@LIBVFIOD_0', exported)
        listed = read('packaging/debian/libvfiod0.symbols').split('libvfiod.so.0 ')[1]
        self.assertEqual(dict(re.findall(r'^ (\S+) (\S+)$', listed, re.M)), exported, 'packaging/debian/libvfiod0.symbols')

    def test_capabilities_of_the_confinement(self):
        """A profile that lacks one makes vfiod refuse what it should allow."""
        units = read('units/vfiod.service.in') + read('units/vfiod-noiommu.conf') + read('units/vfiod-stop.conf')
        wanted = {word[4:].lower() for line in re.findall(r'^CapabilityBoundingSet=(.*)$', units, re.M) for word in line.split()}
        self.assertIn('sys_rawio', wanted)
        profile = read('packaging/apparmor/usr.libexec.vfiod')
        self.assertEqual(set(re.findall(r'^  capability (\w+),$', profile, re.M)), wanted)
        module = read('packaging/selinux/vfiod.te')
        self.assertEqual(set(re.search(r'self:capability \{ (.*) \};', module)[1].split()), wanted)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of refusals is src/core/error-table.h; enum, manual pages and catalog follow it."""

import re
import unittest

import harness
from harness import ERROR, SOURCE


def read(path):
    return (SOURCE / path).read_text()


ROW = re.compile(r'X\(([A-Z_]+),\s*"(\w+)",\s*(E\w+),\s*(\d+),')


class ErrorTableTest(unittest.TestCase):
    def setUp(self):
        self.rows = ROW.findall(read('src/core/error-table.h').replace('\\\n', ''))
        self.assertGreater(len(self.rows), 20)

    def test_names_follow_codes(self):
        for code, name, _, _ in self.rows:
            self.assertEqual(name, ''.join(word.capitalize() for word in code.split('_')))

    def test_exit_statuses_are_all_different(self):
        statuses = [status for _, _, _, status in self.rows]
        self.assertEqual(len(set(statuses)), len(statuses))

    def test_the_enum_has_the_same_codes(self):
        enum = re.search(r'typedef enum VfiodError \{(.*?)\} VfiodError;', read('src/core/error.h'), re.S).group(1)
        enum = re.sub(r'/\*.*?\*/', '', enum, flags=re.S)
        if 'VFIOD_ERROR_TABLE' in enum:  # made from the table
            return
        self.assertEqual(re.findall(r'\bVFIOD_ERROR_([A-Z_]+),', enum), [code for code, _, _, _ in self.rows])

    def test_the_manual_of_the_interface_lists_them_in_order(self):
        listed = re.findall(r'^\*' + re.escape(ERROR) + r'(\w+)\*\n\t(\S.*)$', read('man/org.vfiod1.5.scd'), re.M)
        self.assertEqual([name for name, _ in listed], [name for _, name, _, _ in self.rows])

    def test_the_varlink_interface_declares_them_in_order(self):
        declared = re.findall(r'^error (\w+) \((.*?)\)$', read('varlink/org.vfiod.Broker.varlink'), re.M | re.S)
        self.assertEqual([name for name, _ in declared], [name for _, name, _, _ in self.rows])
        self.assertEqual(len({' '.join(fields.split()) for _, fields in declared}), 1, 'all have the same parameters')


class CatalogTest(unittest.TestCase):
    def test_every_message_id_is_explained(self):
        ids = re.findall(r'#define VFIOD_MESSAGE_\w+ "([0-9a-f]{32})"', read('src/base/log.h'))
        explained = re.findall(r'^-- ([0-9a-f]{32})\nSubject: \S', read('units/vfiod.catalog'), re.M)
        self.assertGreater(len(ids), 0)
        self.assertEqual(explained, ids)

    def test_fields_exist(self):
        code = read('src/daemon/broker/audit.c') + read('src/daemon/broker/ledger.c')
        logged = set(re.findall(r'"(VFIOD_[A-Z_]+)"', code))
        shown = set(re.findall(r'@(\w+)@', read('units/vfiod.catalog')))
        self.assertGreater(len(shown), 0)
        self.assertLessEqual(shown, logged)


if __name__ == '__main__':
    harness.main()

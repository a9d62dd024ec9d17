#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfioctl topology --svg on recorded hosts: the picture is looked at by its coordinates."""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import harness
from harness import SOURCE

DATA = SOURCE / 'tests/unit/data/topology'
HOSTS = [DATA / 'desktop.json', DATA / 'server.json', SOURCE / 'tests/rehearsal/host.json']
SVG = '{http://www.w3.org/2000/svg}'
ADVANCE = 0.6025  # of DejaVu Sans Mono, the widest of the fonts that the picture names; in ems


class Rectangle:
    def __init__(self, element):
        self.x, self.y, self.width, self.height = (float(element.get(k)) for k in ('x', 'y', 'width', 'height'))
        self.right, self.bottom = self.x + self.width, self.y + self.height

    def overlaps(self, other):
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def contains(self, other):
        return self.x <= other.x and other.right <= self.right and self.y <= other.y and other.bottom <= self.bottom


class Shelf:
    """Rectangles by their height, so that each is only compared with those beside it."""
    STEP = 64

    def __init__(self, places):
        self.places, self.steps = places, collections.defaultdict(set)
        for name, place in places.items():
            for step in self._steps(place):
                self.steps[step].add(name)

    def _steps(self, place):
        return range(int(place.y) // self.STEP, int(place.bottom) // self.STEP + 1)

    def beside(self, place):
        return sorted(set().union(*(self.steps[step] for step in self._steps(place))))


def width_of(text, size=12):
    if text.get('textLength'):
        return float(text.get('textLength'))
    return len(text.text) * ADVANCE * size


class TopologyTestCase(unittest.TestCase):
    def topology(self, host, *arguments, **options):
        return subprocess.run([os.environ['VFIOCTL'], 'topology', '--host', str(host), *arguments], check=True, timeout=60,
                              stdout=subprocess.PIPE, encoding='utf-8', **options).stdout

    def write(self, host):
        file = tempfile.NamedTemporaryFile('w', suffix='.json')
        self.addCleanup(file.close)
        json.dump(host, file)
        file.flush()
        return file.name


class PictureTest(TopologyTestCase):
    def check(self, host, text):
        """host: as recorded. Returns the root of the picture."""
        root = xml.etree.ElementTree.fromstring(text.encode())
        width, height = float(root.get('width')), float(root.get('height'))
        self.assertEqual(root.get('viewBox').split(), ['0', '0', root.get('width'), root.get('height')])
        groups = {d['name']: d.get('group') for d in host['devices']}
        sizes = collections.Counter(groups.values())

        boxes = {g.get('data-name'): g for g in root.iter(SVG + 'g') if g.get('data-name') is not None}
        self.assertEqual(sum(g.get('data-name') is not None for g in root.iter(SVG + 'g')), len(groups))
        self.assertEqual(set(boxes), set(groups))
        places = {name: Rectangle(g.find(SVG + 'rect')) for name, g in boxes.items()}
        shelf = Shelf(places)
        for name, a in places.items():
            self.assertTrue(a.x >= 0 and a.y >= 0 and a.right <= width and a.bottom <= height, name)
            self.assertEqual([other for other in shelf.beside(a) if a.overlaps(places[other])], [name])
            self.assertEqual(boxes[name].get('data-group'), None if groups[name] is None else str(groups[name]))

        frames = [(int(g.get('data-group')), Rectangle(g.find(SVG + 'rect'))) for g in root.iter(SVG + 'g')
                  if g.get('class') == 'frame' and g.get('data-group')]
        framed = []
        for id, frame in frames:
            inside = [name for name in shelf.beside(frame) if frame.contains(places[name])]
            self.assertTrue(inside)
            self.assertEqual({groups[name] for name in inside}, {id})
            self.assertEqual([name for name in shelf.beside(frame) if frame.overlaps(places[name])], inside)
            framed += inside
        self.assertEqual(sorted(framed), sorted(name for name, g in groups.items() if g is not None and sizes[g] > 1))
        others = Shelf(dict(enumerate(place for _, place in frames)))
        for i, (_, frame) in enumerate(frames):
            self.assertEqual([k for k in others.beside(frame) if frame.overlaps(others.places[k])], [i])

        self.check_text(root, width)
        return root

    def check_text(self, root, width):
        for g in root.iter(SVG + 'g'):
            texts = g.findall(SVG + 'text')
            if g.find(SVG + 'rect') is None or not texts:
                continue
            place = Rectangle(g.find(SVG + 'rect'))
            for text in texts:
                end = float(text.get('x')) + width_of(text)
                self.assertLessEqual(end, place.right, text.text)
                self.assertTrue(place.y + 8 <= float(text.get('y')) <= place.bottom - 2, text.text)
            lines = sorted((float(t.get('y')), float(t.get('x')), width_of(t), t.text) for t in texts)
            for a, b in zip(lines, lines[1:]):  # texts of one line stand behind each other
                self.assertTrue(a[0] < b[0] or a[1] + a[2] <= b[1], (a, b))
        for text in root.iter(SVG + 'text'):
            self.assertLessEqual(float(text.get('x')) + width_of(text), width, text.text)

    def test_recorded_hosts(self):
        for path in HOSTS:
            with self.subTest(path.name):
                self.check(json.loads(path.read_text()), self.topology(path, '--svg'))

    def test_what_it_shows(self):
        root = self.check(json.loads(HOSTS[0].read_text()), self.topology(HOSTS[0], '--svg'))
        boxes = {g.get('data-name'): g for g in root.iter(SVG + 'g') if g.get('data-name')}
        frames = {g.get('data-group'): g for g in root.iter(SVG + 'g') if g.get('class') == 'frame'}
        self.assertEqual([name for name, g in boxes.items() if g.get('class') == 'box red'],
                         ['pci:0000:00:01.0', 'pci:0000:00:01.1', 'pci:0000:04:00.0'])
        self.assertIn('lacks ACS', ''.join(boxes['pci:0000:00:01.0'].itertext()))
        self.assertIn('/dev/sda1 is mounted on /home', ''.join(boxes['pci:0000:02:00.0'].itertext()))
        self.assertEqual(boxes['pci:0000:02:00.0'].get('class'), 'box yellow')
        why = ' '.join(t.text for t in frames['1'].findall(SVG + 'text'))
        self.assertEqual(why, 'group 1, 5 devices: pci:0000:00:01.0 (root port) and pci:0000:00:01.1 (root port) lack ACS, and so '
                         'do not isolate what is below them')
        self.assertIn('Slot: 0000:00:01.0/00.0', boxes['pci:0000:01:00.0'].find(SVG + 'title').text)

    def test_nothing_from_elsewhere(self):
        text = self.topology(HOSTS[1], '--svg')
        root = xml.etree.ElementTree.fromstring(text.encode())
        self.assertLessEqual({e.tag for e in root.iter()}, {SVG + t for t in ('svg', 'title', 'style', 'rect', 'g', 'text', 'path')})
        self.assertEqual(re.findall(r'https?://[^"\s]+', text), ['http://www.w3.org/2000/svg'])
        for word in ('<script', 'href', 'url(', '@import', ' on'):
            self.assertNotIn(word, re.sub(r'<title>.*?</title>|>[^<]*<', '><', text, flags=re.S), word)
        self.assertIn('prefers-color-scheme: dark', text)

    def test_sockets_have_columns_of_their_own(self):
        root = xml.etree.ElementTree.fromstring(self.topology(HOSTS[1], '--svg').encode())
        headings = [(t.text, float(t.get('x'))) for t in root.iter(SVG + 'text') if t.get('class') == 'numa']
        self.assertEqual([text for text, _ in headings],
                         ['NUMA node 0', 'NUMA node 0, continued', 'NUMA node 1', 'NUMA node 1, continued'])
        numa = {d['name']: d['numaNode'] for d in json.loads(HOSTS[1].read_text())['devices']}
        for g in root.iter(SVG + 'g'):
            if g.get('data-name'):
                self.assertEqual(Rectangle(g.find(SVG + 'rect')).x > headings[2][1], numa[g.get('data-name')] == 1)

    def test_some_devices(self):
        root = xml.etree.ElementTree.fromstring(self.topology(HOSTS[0], '--svg', '01:00.1').encode())
        self.assertEqual(sorted(g.get('data-name') for g in root.iter(SVG + 'g') if g.get('data-name')),
                         [f'pci:0000:{a}' for a in ('00:01.0', '00:01.1', '01:00.0', '01:00.1', '02:00.0')])

    def test_hostile_text(self):
        evil = '</text><script>alert(1)</script>&"\'>\x1b[2J\x07\u202e\u3042\u3042\ufffd' + 'x' * 300
        host = json.loads(HOSTS[0].read_text())
        for d in host['devices']:
            d['hostCritical'] = evil
            d['driver'] = evil[:40]
        text = self.topology(self.write(host), '--svg')
        self.check(host, text)
        self.assertNotIn('<script', text)
        self.assertFalse(set('\x1b\x07\u202e') & set(text))

    def test_many_devices(self):
        """4,096 of them, nearly all in three groups, whose members alternate, also across root buses."""
        one = json.loads(HOSTS[0].read_text())['devices'][0]
        host = {'version': 1, 'devices': []}
        for i in range(4096):
            address = f'0000:{i >> 8:02x}:{i >> 3 & 31:02x}.{i & 7}'
            host['devices'].append({**one, 'name': 'pci:' + address, 'slotPath': address, 'group': i // 7 % 3 if i % 50 else 7000 + i})
        self.check(host, self.topology(self.write(host), '--svg'))

@unittest.skipUnless(shutil.which('dot'), 'graphviz is not installed')
class GraphTest(TopologyTestCase):
    def graph(self, path):
        """As graphviz draws it: (texts of nodes, [(texts, y) of clusters], edges)"""
        dot = self.topology(path, '--dot')
        text = subprocess.run(['dot', '-Tsvg'], input=dot, check=True, timeout=60, stdout=subprocess.PIPE, encoding='utf-8').stdout
        found = {kind: [[t.text for t in g.iter(SVG + 'text')] for g in xml.etree.ElementTree.fromstring(text.encode()).iter(SVG + 'g')
                        if g.get('class') == kind] for kind in ('node', 'cluster', 'edge')}
        return found['node'], found['cluster'], found['edge']

    def test_recorded_hosts(self):
        for path in HOSTS:
            with self.subTest(path.name):
                devices = json.loads(path.read_text())['devices']
                nodes, clusters, edges = self.graph(path)
                self.assertEqual(sorted(n[0] for n in nodes if n[0].startswith('pci:')), sorted(d['name'] for d in devices))
                self.assertEqual(len(edges), len(devices))
                groups = [d.get('group') for d in devices]
                self.assertEqual(sorted(c[0] for c in clusters),
                                 sorted(f'group {g}' for g in set(groups) if g is not None and groups.count(g) > 1))

    def test_what_it_shows(self):
        nodes, clusters, _ = self.graph(HOSTS[0])
        self.assertIn(['pci:0000:00:01.1', 'root port, pcieport', 'group 1', 'lacks ACS'], nodes)
        self.assertIn('lack ACS', dict((c[0], c[1]) for c in clusters)['group 1'])

    def test_hostile_text(self):
        host = json.loads(HOSTS[0].read_text())
        evil = '"];\n evil [label="\\N\\G&amp;<b>\x1b\n'
        host['devices'][0].update(driver='x', hostCritical=evil)
        nodes, _, edges = self.graph(self.write(host))
        self.assertEqual(len(edges), len(host['devices']))
        shown, = (n for n in nodes if n[0] == host['devices'][0]['name'])
        self.assertEqual(shown[-1], evil.replace('\x1b', '\\x1b').replace('\n', '\\x0a'))


class OptionsTest(TopologyTestCase):
    def test_forms_exclude_each_other(self):
        for options in (['--svg', '--json'], ['--dot', '--json'], ['--svg', '--dot'], ['--svg', '--dot', '--json']):
            p = subprocess.run([os.environ['VFIOCTL'], 'topology', *options, '--host', str(HOSTS[0])], timeout=20,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual((p.returncode, p.stdout), (2, ''))
            self.assertIn('exclude each other', p.stderr)


if __name__ == '__main__':
    harness.main()

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vfioctl shows, and how: names from the hardware database, columns, filters, order, the pager."""

import contextlib
import fcntl
import importlib
import json
import os
import pty
import select
import struct
import termios
import unittest

import dbus

import harness
from harness import wait

vfioctl = importlib.import_module('test-vfioctl')
EDU, NIC, PORT = vfioctl.EDU, vfioctl.NIC, vfioctl.PORT
VGA, NVME = 'pci:0000:01:00.0', 'pci:0000:02:00.0'


def write_hwdb(path, entries):
    """A database as systemd-hwdb(8) compiles it. entries: prefix of a modalias -> {key: value}"""
    tree, base, size = {}, 80, 0
    for prefix, values in entries.items():
        node = tree
        for letter in prefix:
            node = node.setdefault(letter, {})
        node['*'] = values
    strings, offsets, nodes = bytearray(b'\0'), {'': 0}, []

    def place(node):
        """The offset of the node among the nodes; children come first."""
        children = sorted((letter, place(child)) for letter, child in node.items() if letter != '*')
        values = []
        if '*' in node:
            star = struct.pack('<QBxxxxxxxQ', string(''), 0, len(node['*']))
            for key, value in sorted(node['*'].items()):
                star += struct.pack('<QQ', string(' ' + key), string(value))
            values = [('*', append(star))]
        data = struct.pack('<QBxxxxxxxQ', string(''), len(children) + len(values), 0)
        for letter, offset in sorted(children + values):
            data += struct.pack('<BxxxxxxxQ', ord(letter), offset)
        return append(data)

    def append(data):
        nonlocal size
        offset = base + size
        nodes.append(data)
        size += len(data)
        return offset

    def string(text):
        if text not in offsets:
            offsets[text] = len(strings)
            strings.extend(text.encode() + b'\0')
        return offsets[text]

    # Strings lie behind the nodes: so the nodes are placed twice, the second time with their offsets.
    place(tree)
    for text in offsets:
        offsets[text] += base + size
    nodes, size = [], 0
    root = place(tree)
    data = b''.join(nodes)
    header = struct.pack('<8sQQQQQQQQQ', b'KSLPHHRH', 252, base + len(data) + len(strings), base, 24, 16, 16, root,
                         len(data), len(strings))
    with open(path, 'wb') as f:
        f.write(header + data + strings)


class OutputTest(vfioctl.ClientTest):
    def setUp(self):
        super().setUp()
        self.mock.add_device(VGA, 10, Class=0x030000, Vendor=0x10de, Product=0x2204, Driver='nouveau', NumaNode=1,
                             HostCritical='it is the boot display, driven by nouveau')
        self.mock.add_device(NVME, 10, Class=0x010802, Driver='nvme', State='claimed')
        self.hwdb = f'{self.directory}/hwdb.bin'
        write_hwdb(self.hwdb, {
            'pci:v000010DE': {'ID_VENDOR_FROM_DATABASE': 'NVIDIA Corporation'},
            'pci:v000010DEd00002204': {'ID_MODEL_FROM_DATABASE': 'GA102 [GeForce RTX 3090]'},
            'pci:v00008086d000010D3sv00008086sd0000A01F': {
                'ID_VENDOR_FROM_DATABASE': 'Intel Corporation',
                'ID_MODEL_FROM_DATABASE': '82574L Gigabit\x1b[2J Network Connection'}})

    def names(self, *arguments, **environment):
        return self.succeeds('list', '-o', 'name', *arguments, **environment).splitlines()

    def on_terminal(self, *arguments, rows=25, columns=80, typed=b'', **environment):
        """What it writes to a terminal, and its exit status."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        try:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
            program = self.start(*arguments, stdout=theirs, terminal=theirs,
                                 **{'TERM': 'xterm', 'NO_COLOR': '1', 'SYSTEMD_PAGERSECURE': 'no', **environment})
            if typed:
                os.write(ours, typed)
            status = program.end()[0]
        finally:
            os.close(theirs)
        said = b''
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 65536):
                said += chunk
        return status, said.decode().replace('\r\n', '\n')

    def test_names_of_vendors_and_models(self):
        lines = self.succeeds('list', VFIOCTL_HWDB=self.hwdb).splitlines()
        column = lines[0].index('MODEL')
        shown = {l.split()[0]: l[column:] for l in lines[1:]}
        self.assertEqual(shown[VGA], 'NVIDIA GA102 [GeForce RTX 3090]')
        self.assertEqual(shown[NIC], 'Intel 82574L Gigabit\\x1b[2J Network Connection')
        self.assertEqual(shown[EDU], '-')
        text = self.succeeds('status', VGA, VFIOCTL_HWDB=self.hwdb)
        self.assertIn('Vendor: NVIDIA Corporation\n', text)
        self.assertIn('Model: GA102 [GeForce RTX 3090]\n', text)

    def test_names_in_json(self):
        found = {d['name']: d for d in json.loads(self.succeeds('list', '--json', VFIOCTL_HWDB=self.hwdb))}
        self.assertEqual((found[VGA]['vendorName'], found[VGA]['modelName']), ('NVIDIA Corporation', 'GA102 [GeForce RTX 3090]'))
        self.assertEqual((found[EDU]['vendorName'], found[EDU]['modelName']), (None, None))

    def test_without_a_usable_database(self):
        broken, cut = f'{self.directory}/broken', f'{self.directory}/cut'
        with open(broken, 'w') as f:
            f.write('KSLPHHRH' + 'x' * 200)
        with open(self.hwdb, 'rb') as whole, open(cut, 'wb') as f:
            f.write(whole.read()[:90])
        for path in ('', '/nonexistent', self.directory, broken, cut):
            self.assertIn('8086:10d3', self.succeeds('list', VFIOCTL_HWDB=path))
            self.assertNotIn('Model:', self.succeeds('status', VGA, VFIOCTL_HWDB=path))

    def test_filters(self):
        self.assertEqual(self.names('class=display'), [VGA])
        self.assertEqual(self.names('class=vga'), [VGA])
        self.assertEqual(self.names('class=storage'), [NVME])
        self.assertEqual(self.names('class=storage,display'), [VGA, NVME])
        self.assertEqual(self.names('class!=storage,display,bridge'), [NIC, EDU])
        self.assertEqual(self.names('state=claimed'), [NVME])
        self.assertEqual(self.names('state=free', 'group=10', 'driver=pci*'), [PORT])
        self.assertEqual(self.names('driver=-'), [EDU])
        self.assertEqual(self.names('ids=10de:*'), [VGA])
        self.assertEqual(self.names('numa=1'), [VGA])
        self.assertEqual(self.names('host-use=*boot display*'), [VGA])
        self.assertEqual(self.names('host-use!=-'), [VGA])
        self.mock.set(harness.device_path(VGA), Tags=dbus.Array(['render', 'spare'], 's'))
        for word in ('tag=render', 'tag=*pare', 'TAG!=-', 'tag=x,spare'):
            self.assertEqual(self.names(word), [VGA], word)
        self.assertEqual(self.names('class=display', 'tag=render', 'free'), [VGA])
        self.assertNotIn(VGA, self.names('tag!=render'))
        self.assertIn('render spare', self.succeeds('list', '-o', 'wide'))
        self.assertIn('Tags: render spare\n', self.succeeds('status', VGA))
        self.assertEqual(self.names('claimed'), [NVME])
        self.assertEqual(self.names('model=*geforce*', VFIOCTL_HWDB=self.hwdb), [VGA])
        self.assertEqual(self.vfioctl('list', 'state=odd'), (0, '', 'No device matches.\n'))
        self.assertEqual([d['name'] for d in self.json('list', 'class=display')], [VGA])
        self.assertEqual(self.names('--groups', 'name=' + EDU), ['group:8'])
        self.assertEqual([g['id'] for g in self.json('list', '--groups', 'class=display')], [10])
        tree = self.succeeds('list', '--groups', 'class=display', '--no-legend').splitlines()
        self.assertEqual([l.split()[0] for l in tree], ['group', '└─' + VGA])

    def test_wrong_filters(self):
        self.assertIn('expected COLUMN=VALUE', self.fails(2, 'list', EDU))
        self.assertIn('expected COLUMN=VALUE', self.fails(2, 'list', '=free'))
        self.assertIn('The columns are name, group, class,', self.fails(2, 'list', 'colour=red'))
        for wrong, meant in (('fre', "or a state; did you mean 'free'?"), ('tga=render', "did you mean 'tag'?"),
                             ('class=dispaly', "there is no such class; did you mean 'display'?"),
                             ('state=free,clamed', "clamed: there is no such state; did you mean 'claimed'?"),
                             ('access!=alow', "there is no such access; did you mean 'allow'?")):
            self.assertIn(meant, self.fails(2, 'list', wrong))
        self.assertIn('host-use', self.fails(2, 'list', '!=free'))
        self.assertIn('The columns are', self.fails(2, 'list', '--sort=x'))
        self.assertIn('exclude each other', self.fails(2, 'list', '--sort=name', '--groups'))
        self.assertIn('--sort=x', self.vfioctl('status', '--sort=x')[2] if self.make_claim(EDU) else '')
        self.assertIn('expected text, wide, name or json', self.fails(2, 'list', '-o', 'yaml'))

    def test_order(self):
        self.mock.add_group(9)
        self.mock.add_device('pci:0000:03:00.0', 9, Driver='')
        self.assertEqual(self.names('--sort=group')[:2], [EDU, 'pci:0000:03:00.0'])
        self.assertEqual(self.names('--sort=driver'), [NIC, VGA, NVME, PORT, 'pci:0000:03:00.0', EDU])
        self.assertEqual([d['name'] for d in self.json('list', '--sort=Driver')][:3], [NIC, VGA, NVME])

    def test_formats(self):
        self.assertEqual(self.names(), [NIC, PORT, VGA, NVME, EDU])
        self.assertEqual(self.json('list'), json.loads(self.succeeds('list', '-o', 'json')))
        wide = self.succeeds('list', '-o', 'wide').splitlines()
        self.assertEqual(wide[0].split()[-5:], ['CLAIM', 'NUMA', 'TAG', 'HOST', 'USE'])
        self.assertTrue(wide[3].endswith('1     -    it is the boot display, driven by nouveau'), wide[3])
        self.assertEqual(self.succeeds('list', '-o', 'text'), self.succeeds('list'))
        claim = self.make_claim(EDU)
        self.assertEqual(self.succeeds('status', '-o', 'name'), claim.id + '\n')
        self.assertIn('2026-09-21 14:13:20 UTC', self.succeeds('status', '-o', 'wide'))
        self.assertEqual(self.succeeds('status', '-o', 'name', EDU[4:], 'group:8'), f'{EDU}\n8\n')

    def test_access(self):
        """One call for all devices."""
        for name, access in ((NIC, 'allow'), (EDU, 'ask'), (VGA, 'unknown')):
            self.mock.set(harness.device_path(name), Access=access)
        self.mock.calls.clear()
        lines = self.succeeds('list').splitlines()
        column = lines[0].index('ACCESS')
        self.assertEqual({l.split()[0]: l[column:].split()[0] for l in lines[1:]},
                         {NIC: 'allow', PORT: 'deny', VGA: 'unknown', NVME: 'deny', EDU: 'ask'})
        self.assertEqual([c for c in self.mock.calls if c[0] != 'GetManagedObjects'], [('ListDevices', ['Access'])])
        self.assertEqual(self.names('access=allow,ask'), [NIC, EDU])
        self.assertEqual({d['name']: d['access'] for d in self.json('list')}[EDU], 'ask')
        self.assertIn('Access: allowed to you by the policy\n', self.succeeds('status', NIC))
        self.assertIn('Access: denied to you by the policy\n', self.succeeds('status', PORT))
        self.assertIn("see 'vfioctl plan'", self.succeeds('status', VGA))

    def test_older_daemon(self):
        """It has no such call."""
        self.mock.refusals['ListDevices'] = 'org.freedesktop.DBus.Error.UnknownMethod', 'Unknown method.'
        line = self.succeeds('list').splitlines()[1]
        self.assertEqual(line.split(), [NIC, '10', 'ethernet', '8086:10d3', 'e1000e', 'free', '-', '-', '-'])
        self.assertEqual(self.names('access=-'), [NIC, PORT, VGA, NVME, EDU])
        self.mock.refusals['ListDevices'] = 'LimitExceeded', 'too much.'
        self.fails(33, 'list')

    def test_nobody_looks_for_what_is_not_shown(self):
        """What the host uses a device for costs a look at each."""
        self.succeeds('list')
        self.assertFalse([c for c in self.mock.calls if c[0] in ('Get', 'GetAll')])

    def pager(self, name='pager'):
        """A pager that marks what it gets."""
        path = f'{self.directory}/{name}'
        with open(path, 'w') as f:
            f.write('#!/bin/sh\necho "<LESS=$LESS secure=$LESSSECURE>"\ncat\necho "</pager>"\n')
        os.chmod(path, 0o755)
        return path

    def test_pager(self):
        path = self.pager()
        for environment in ({'SYSTEMD_PAGER': path}, {'SYSTEMD_PAGER': path, 'PAGER': 'false'}):
            status, said = self.on_terminal('list', **environment)
            self.assertEqual(status, 0)
            lines = said.splitlines()
            self.assertEqual(lines[0], '<LESS=FRSXMK secure=>')
            self.assertEqual(lines[-1], '</pager>')
            self.assertEqual(lines[1].split()[0], 'NAME')
            self.assertLessEqual(max(map(len, lines)), 80)  # the terminal's width, through the pager
        self.assertTrue(self.on_terminal('help', SYSTEMD_PAGER=path)[1].endswith('</pager>\n'))
        for arguments, environment in ((['list', '--no-pager'], {}), (['--no-pager', 'list'], {}),
                                       (['list'], {'SYSTEMD_PAGER': 'cat'}), (['list'], {'SYSTEMD_PAGER': ''})):
            said = self.on_terminal(*arguments, **{'SYSTEMD_PAGER': path, **environment})[1]
            self.assertTrue(said.startswith('NAME'), said)
        # Not without a terminal, and not where the output goes on by itself.
        self.assertTrue(self.succeeds('list', SYSTEMD_PAGER=path).startswith('NAME'))
        self.assertIn('</pager>', self.on_terminal('status', EDU, SYSTEMD_PAGER=path)[1])

    def test_errors_are_not_paged(self):
        status, said = self.on_terminal('status', 'pci:0000:ff:00.0', SYSTEMD_PAGER=self.pager())
        self.assertEqual(status, 14)
        self.assertEqual(said.splitlines()[-1], 'vfioctl: pci:0000:ff:00.0: There is no such device.')

    def test_exit_status_with_a_pager(self):
        manager = self.mock.objects[harness.ROOT_PATH][1]
        manager['Taints'] = [dict(vfioctl.WEAK_TAINT)]
        self.assertEqual(self.on_terminal('taint', SYSTEMD_PAGER=self.pager())[0], 39)

    def test_secure_pager(self):
        """Whoever runs it by sudo gets less without commands, and no other pager."""
        self.pager('less')
        path = f'{self.directory}:{os.environ["PATH"]}'
        evil = self.pager('evil')
        for environment in ({'SUDO_UID': '1000'}, {'PKEXEC_UID': '1000'}, {'DOAS_USER': 'alice'}):
            said = self.on_terminal('list', SYSTEMD_PAGER=f'echo evil; {evil}', SYSTEMD_LESS='evil', PATH=path,
                                    SYSTEMD_PAGERSECURE='', **environment)[1]
            self.assertEqual(said.splitlines()[0], '<LESS=FRSXMK secure=1>')
        for none in ('', 'cat'):
            said = self.on_terminal('list', SYSTEMD_PAGER=none, SYSTEMD_PAGERSECURE='', SUDO_UID='1000', PATH=path)[1]
            self.assertTrue(said.startswith('NAME'), said)
        said = self.on_terminal('list', SYSTEMD_PAGER=evil, SYSTEMD_PAGERSECURE='1', PATH=path)[1]
        self.assertEqual(said.splitlines()[0], '<LESS=FRSXMK secure=1>')
        said = self.on_terminal('list', SYSTEMD_PAGER=evil, SUDO_UID='1000', SYSTEMD_PAGERSECURE='no', SYSTEMD_LESS='x')[1]
        self.assertEqual(said.splitlines()[0], '<LESS=x secure=>')

    def test_host_without_a_pager(self):
        said = self.on_terminal('list', SYSTEMD_PAGER='exec /nonexistent', PATH='/nonexistent')[1]
        self.assertIn('not found', said)
        said = self.on_terminal('list', SYSTEMD_PAGERSECURE='1', PATH='/nonexistent')[1]
        self.assertTrue(said.startswith('NAME'), said)

    def watch(self, *arguments):
        program = self.start('watch', '--json', *arguments)
        wait(lambda: len(program.lines()) == 1, 'the first list')
        return program

    def test_watch(self):
        """A list for each change, and for many at once only one."""
        program = self.watch('class=storage,display')
        self.assertEqual([d['name'] for d in program.lines()[-1]], [VGA, NVME])
        self.mock.set(harness.device_path(NVME), State='draining')
        wait(lambda: len(program.lines()) == 2, 'the change is shown')
        self.assertEqual([d['state'] for d in program.lines()[-1]], ['free', 'draining'])
        self.mock.remove(harness.device_path(VGA))
        wait(lambda: [d['name'] for d in program.lines()[-1]] == [NVME], 'the device is gone')
        self.mock.calls.clear()
        for i in range(64):
            self.mock.add_device(f'pci:0001:00:{i // 8:02x}.{i % 8}', 10, announce=True, Class=0x010802)
        wait(lambda: len(program.lines()[-1]) == 65, 'all are there')
        self.assertLess(len([c for c in self.mock.calls if c[0] == 'GetManagedObjects']), 64)
        self.assertIsNone(program.process.poll())

    def test_watch_outlives_the_daemon(self):
        program = self.watch()
        self.mock.link.close()
        self.mock.__init__(self.address, self.directory)
        self.mock.add_group(8, EDU)
        self.mock.add_device(EDU, 8, announce=True)
        wait(lambda: [d['name'] for d in program.lines()[-1]] == [EDU], 'the next daemon is heard')

    def test_watch_that_fails(self):
        self.assertIn('The columns are', self.vfioctl('watch', 'colour=red')[2])
        self.assertEqual(self.vfioctl('watch', '--sort=x')[0], 2)
        self.mock.link.close()
        self.assertIn('vfiod is not running', self.fails(3, 'watch'))

    def test_watch_on_a_terminal(self):
        """It is redrawn in place, and keeps to the screen."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 6, 80, 0, 0))
        program = self.start('watch', stdout=theirs, terminal=theirs, TERM='xterm', NO_COLOR='1',
                             SYSTEMD_PAGER=self.pager())
        os.close(theirs)
        said = b''

        def draws():
            nonlocal said
            while select.select([ours], [], [], 0)[0]:
                said += os.read(ours, 65536)
            return said.decode().replace('\r\n', '\n').split('\x1b[H\x1b[2J')[1:]
        wait(lambda: draws() and draws()[-1].endswith('more)\n'), 'the first list')
        self.mock.set(harness.device_path(NIC), State='draining')
        wait(lambda: 'draining' in draws()[-1] and draws()[-1].endswith('more)\n'), 'the change is shown')
        lines = draws()[-1].splitlines()
        self.assertEqual((len(lines), lines[-1]), (5, '(3 more)'))
        self.assertRegex(lines[0], r"^vfiod's devices, \d{4}-")
        self.mock.link.close()
        wait(lambda: 'vfiod is not running' in draws()[-1], 'its end is shown')
        program.process.terminate()

    def test_suggestions(self):
        self.assertIn("did you mean '--groups'?", self.fails(2, 'list', '--gruops'))
        self.assertIn("did you mean '--no-pager'?", self.fails(2, '--nopager', 'list'))
        self.assertIn('--full: the option takes no argument', self.fails(2, 'list', '--full=yes'))
        self.assertNotIn('did you mean', self.fails(2, 'list', '--entirely-different'))
        self.assertIn("did you mean 'explain'?", self.fails(2, 'policy', 'expalin'))

    def test_verbs_that_people_guess(self):
        for guess, meant in (('explain', 'policy explain'), ('check', 'policy check'), ('test', 'policy test'),
                             ('diff', 'policy diff'), ('generate', 'policy generate'), ('genarate', 'policy generate'),
                             ('show', "policy show' or 'status"), ('claim', "hold DEVICE' or 'exec"),
                             ('bind', "hold DEVICE', or, from the boot on, 'pin"),
                             ('unbind', "release CLAIM', or, for a pinned device, 'unpin"), ('ls', 'list')):
            self.assertIn(f"{guess}: unknown verb; did you mean '{meant}'?", self.fails(2, guess))
        self.assertIn("policy list: unknown verb; did you mean 'list'?", self.fails(2, 'policy', 'list'))
        self.assertNotIn('did you mean', self.fails(2, 'entirely-different'))

    def test_an_argument_that_lacks_its_equals_sign(self):
        for verb, option, value in (('exec', 'wait', '5'), ('hold', 'wait', '5m'), ('evict', 'more', '60'),
                                    ('memlock-for', 'viommu', 'nested')):
            self.assertEqual(self.fails(2, verb, f'--{option}', value, 'x'),
                             f'vfioctl: --{option} {value}: write --{option}={value}.\n')
        # What follows is none of its values.
        self.assertIn('x/y: ', self.fails(127, 'exec', '--device', NIC, '--wait', 'x/y'))
        for option in ('--wait=0', '--wait=', '--wait=5d', '--wait=-1', '--wait=m'):
            self.assertIn('expected a number of seconds, or a time such as 5m', self.fails(2, 'hold', option, NIC))
        self.assertIn('expected a number of seconds, or a time such as 5m', self.fails(2, 'reserve', '--ttl=0', NIC))


if __name__ == '__main__':
    harness.main()

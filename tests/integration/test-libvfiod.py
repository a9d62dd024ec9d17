#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvfiod over a pretended socket: calls, fds, events, and what a daemon that is none could answer. With the real daemon,
over both transports. Its header, its symbols, and the examples of its manual."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import harness
from harness import SOURCE, VfiodTestCase, wait
from mock_varlink import INTERFACE, TOKEN, MockVarlink

sys.path.insert(0, str(SOURCE / 'src/python'))
import vfiod  # noqa: E402

EDU, NIC = 'pci:0000:06:0d.0', 'pci:0000:00:04.0'
CLAIM = '0123456789abcdef'
LIBRARY = pathlib.Path(os.environ['LIBVFIOD'])


class LibraryTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix='vfiod-test-libvfiod.')
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        self.mock = MockVarlink(self.directory)
        self.addCleanup(self.mock.close)

    def begin(self, *command, **environment):
        env = {**os.environ, 'VFIOD_SOCKET': self.mock.path, 'LD_LIBRARY_PATH': str(LIBRARY.parent), **environment}
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        return process

    def run_program(self, *command, **environment):
        process = self.begin(*command, **environment)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def example(self, *devices, **environment):
        return self.run_program(os.environ['LIBVFIOD_EXAMPLE'], *devices, NIC, **environment)

    def wait_closed(self):
        """Every lifeline was closed by the client."""
        for fd in self.mock.lifelines.values():
            self.assertEqual(os.read(fd, 1), b'')


class BlockingTest(LibraryTest):
    def test_acquire_and_release(self):
        self.mock.last_needs_token = True
        for pieces in (1, 7, 100000):  # with the fds at the first byte, wherever the stream is cut
            self.mock.pieces = pieces
            self.mock.calls.clear()
            status, out = self.example('0000:06:0d.0')
            self.assertEqual(status, 0, out)
            self.assertEqual(json.loads(out), {
                'id': CLAIM, 'backend': 'iommufd', 'rule': 'one (/x.json:2)', 'cloexec': True, 'devices': [EDU, NIC],
                'iommufd': 'iommufd', 'first': f'device:{EDU}', 'spelled': f'device:{EDU}', 'full': f'device:{EDU}',
                'last': f'device:{NIC}', 'tokens': ['none', TOKEN], 'none': True, 'taken': True})
            self.assertEqual([c[0] for c in self.mock.calls], ['Acquire', 'Release'])
            self.assertEqual(self.mock.calls[0][1]['devices'], ['0000:06:0d.0', NIC])
            self.assertEqual(self.mock.calls[1][1], {'claim': CLAIM})
        self.wait_closed()

    def test_refusal(self):
        self.mock.answers['Acquire'] = lambda p, f: ({'error': INTERFACE + '.DeviceClaimed', 'parameters': {
            'message': 'It is\x1b[2J claimed.', 'blockers': [{'kind': 'claim', 'name': CLAIM, 'why': ''}]}}, [])
        self.assertEqual(self.example(EDU), (1, 'DeviceClaimed 16 It is\\x1b[2J claimed.\n'))
        self.mock.answers['Acquire'] = lambda p, f: ({'error': 'org.varlink.service.MethodNotFound', 'parameters': {
            'method': 'x'}}, [])
        self.assertRegex(self.example(EDU)[1], '^org.varlink.service.MethodNotFound 95 ')

    def test_what_is_no_answer(self):
        good, _ = self.mock.acquire({'devices': [EDU]}, [])

        def answer(reply, n_fds=3):
            self.mock.answers['Acquire'] = lambda p, f: (
                reply, [self.mock.file(str(i)) for i in range(n_fds)])
            status, out = self.example(EDU)
            self.assertEqual(status, 1, (reply, out))
            self.assertRegex(out, r'^(Failed|Unreachable) \d+ ')
            return out

        for text in (b'\0', b'\0' * 4096, b'{"parameters": {\0', b'[]\0', b'1\0', b'{"parameters": []}\0', b'{"a"' + b'[' * 50 + b'\0',
                     b'{"parameters": {"claim": "\xff"}}\0', b'{"parameters":{}}\0'):
            answer(text)
        for change in ({'claim': None}, {'claim': ''}, {'claim': 7}, {'backend': 1}, {'devices': [1]}, {'fds': []},
                       {'fds': [{'name': 'lifeline'}]}, {'fds': [{'name': 'lifeline', 'fileDescriptorIndex': 3}]},
                       {'fds': [{'name': 'lifeline', 'fileDescriptorIndex': -1}]},
                       {'fds': [{'name': 'lifeline', 'fileDescriptorIndex': 0.5}]},
                       {'fds': [{'fileDescriptorIndex': 0}]}, {'fds': [7]}):
            answer({**good, **change})
        answer(good, 0)
        self.assertIn('not a message', answer(good, 250))
        answer(None)
        self.mock.answers['Acquire'] = lambda p, f: (b'{"parameters": {"rule": "' + b'x' * (5 << 20), [])
        self.assertRegex(self.example(EDU)[1], '^Unreachable 74 vfiod.s answer is not a message')
        self.assertRegex(self.example(b'\xff')[1], '^InvalidName 22 ')

    def test_nobody_there(self):
        for path in ('/nonexistent/socket', '/etc/passwd', 'x' * 200):
            status, out = self.example(EDU, VFIOD_SOCKET=path)
            self.assertEqual((status, out.split()[0]), (1, 'Unreachable'))
            self.assertIn(path, out)
        out = self.example(EDU, VFIOD_TRANSPORT='pigeon')[1]
        self.assertIn('VFIOD_TRANSPORT=pigeon', out)
        out = self.example(EDU, VFIOD_TRANSPORT='dbus',
                           DBUS_SYSTEM_BUS_ADDRESS='unix:path=/nonexistent')[1]
        self.assertRegex(out, '^Unreachable .*system bus')


class LoopTest(LibraryTest):
    def loop(self, *devices, **environment):
        process = self.begin(os.environ['LIBVFIOD_LOOP'], *devices, **environment)
        return process, lambda: json.loads(process.stdout.readline())

    def test_claim_and_events(self):
        process, line = self.loop(EDU, COOKIE='vm-1')
        self.assertEqual(line(), {'claim': CLAIM, 'transport': 'varlink', 'userdata': 'mine'})
        self.assertEqual(line(), {'state': 'held', 'claim': CLAIM, 'failure': ''})
        self.assertEqual(self.mock.calls[0][1]['cookie'], 'vm-1')
        self.mock.report(event='complete')
        self.mock.report(event='changed', kind='claim', claim={'id': 'fedcba9876543210', 'state': 'draining'})
        self.mock.report(event='changed', kind='claim', claim={'id': CLAIM, 'state': 'draining', 'failure': 'unplugged'})
        self.assertEqual(line(), {'state': 'draining', 'claim': CLAIM, 'failure': 'unplugged'})
        self.mock.report(event='removed', kind='claim', name='fedcba9876543210')
        self.mock.report(event='removed', kind='claim', name=CLAIM)
        self.assertEqual(line(), {'state': None})
        self.assertEqual(process.wait(10), 0)
        self.wait_closed()

    def test_eviction_and_sleep(self):
        _, line = self.loop(EDU)
        line()
        held = line()
        claim = {'id': CLAIM, 'state': 'held', 'failure': ''}
        for fields, expected in (
                ({'eviction': 'announced', 'evictAt': 17}, {'eviction': 'announced', 'evict at': 17}),
                ({'eviction': 'none', 'evictAt': 0, 'sleepAt': 2**53, 'resume': 'none'}, {'sleep at': 2**53}),
                ({'sleepAt': 0, 'resume': 'checking'}, {'resume': 'checking'}),
                ({'sleepAt': -1, 'evictAt': 'soon', 'resume': 7}, {})):  # of a daemon that is none
            self.mock.report(event='changed', kind='claim', claim={**claim, **fields})
            self.assertEqual(line(), {**held, **expected})

    def test_claim_that_went_before_it_was_watched(self):
        self.mock.answers['Monitor'] = lambda p, f: ({'event': 'complete'}, [])
        process, line = self.loop(EDU)
        line()
        self.assertEqual(line(), {'state': None})
        self.assertEqual(process.wait(10), 0)

    def test_resync(self):
        process, line = self.loop(EDU)
        self.assertEqual([line() and 1, line()['state']], [1, 'held'])
        self.mock.report(event='complete')
        self.mock.report(event='resync')
        self.mock.report(event='complete')
        self.assertEqual(line(), {'state': None})

    def test_added_devices(self):
        _, line = self.loop(EDU, NIC)
        line()
        self.assertEqual(line(), {'added': True, 'same': True})
        self.assertEqual(self.mock.calls[1], ('AddDevices', {'claim': CLAIM, 'devices': [NIC]}))

    def test_connection_that_breaks(self):
        process, line = self.loop(EDU)
        line(), line()
        self.mock.close()
        self.mock.lifelines.clear()
        self.assertEqual(line(), {'lost': 'Unreachable'})
        self.assertEqual(process.wait(10), 0)

    def test_daemon_that_closes_instead_of_answering(self):
        self.mock.answers['Acquire'] = lambda p, f: (None, [])
        process, line = self.loop(EDU)
        self.assertEqual(line()['error'], 'Unreachable')
        self.assertEqual(process.wait(10), 0)

    def test_a_function_may_watch_more(self):
        _, line = self.loop(EDU, WATCH_AGAIN='1')
        line()
        held = {'state': 'held', 'claim': CLAIM, 'failure': ''}
        self.assertEqual([line() for _ in range(3)], [held] * 3)  # the new list is for both
        self.mock.monitors.pop(0)  # closed
        self.mock.report(event='removed', kind='claim', name=CLAIM)
        self.assertEqual(line(), {'state': None})

    def test_tether_of_another_process(self):
        other = subprocess.Popen(['sleep', '1000'])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        _, line = self.loop(EDU, TETHER='process', PROCESS=str(other.pid))
        line()
        parameters = self.mock.calls[0][1]
        self.assertEqual((parameters['tether'], parameters['pid']), ('process', other.pid))
        self.assertEqual(parameters.get('pidfdId'), vfiod._process(other.pid).get('pidfdId'))

    def test_answer_that_nobody_asked_for(self):
        _, line = self.loop(EDU)
        line(), line()
        self.mock.monitors[0].sendall(b'{}\0')
        self.assertEqual(line(), {'lost': 'Failed'})


class OtherCallsTest(LibraryTest):
    CODE = '''
    #include <err.h>
    #include <errno.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #include "vfiod.h"
    int main(void) {
        const char *const devices[] = {"0000:06:0d.0", "pci:0000:00:04.0"}, *const other_spelling = "06:0d.0";
        const VfiodRequest wanted = {.devices = devices, .n_devices = 1, .backend = "iommufd", .reason = "a\\n\\"b",
                .memlock = 1ULL << 40, .untainted = 1, .interactive = 1, .grant = "fd", .tether = "connection"};
        VfiodRequestMore more = {.size = sizeof(more), .reserved = 1};
        VfiodRequest request = wanted;
        VfiodErrorText e;
        VfiodClaim *claim, *other;
        char *plan;
        if (vfiod_acquire_request(&request, &claim, &e) < 0)
            errx(1, "%s", e.message);
        if (vfiod_claim_add_devices(claim, devices + 1, 1, &e) < 0 || !vfiod_claim_device(claim, 1) ||
                vfiod_claim_device_fd(claim, devices[1]) < 0)
            errx(1, "%s", e.message);
        if (vfiod_claim_add_request(claim, &request, &e) != -EINVAL)
            errx(1, "the claim's own options");
        request = (VfiodRequest){.devices = devices + 1, .n_devices = 1, .reason = "more", .memlock = 4096,
                .untainted = 1, .interactive = 1, .more = &more};
        if (vfiod_claim_add_request(claim, &request, &e) != -EINVAL)
            errx(1, "a reserved member");
        more = (VfiodRequestMore){.size = sizeof(more), .pidfd = 1};
        if (vfiod_claim_add_request(claim, &request, &e) != -EINVAL)
            errx(1, "the tether of the claim");
        more = (VfiodRequestMore){.size = sizeof(more), .require = "pasid,migration=p2p", .network = "vlan=12"};
        if (vfiod_claim_add_request(claim, &request, &e) < 0 || vfiod_claim_device(claim, 2))
            errx(1, "%s", e.message);
        request = wanted;
        if (vfiod_claim_release_devices(claim, &other_spelling, 1, &e) != -ENOENT ||
                vfiod_claim_device_fd(claim, devices[0]) < 0)
            errx(1, "another spelling");
        if (vfiod_claim_release_devices(claim, devices, 1, &e) < 0 || vfiod_claim_device(claim, 1) ||
                vfiod_claim_device_fd(claim, devices[0]) >= 0 || vfiod_claim_device_fd(claim, devices[1]) < 0)
            errx(1, "%s", e.message);
        if (vfiod_claim_answer_eviction(claim, 0, &e) < 0 || vfiod_claim_answer_eviction(claim, 30, &e) < 0 ||
                vfiod_claim_ready_to_sleep(claim, &e) < 0)
            errx(1, "%s", e.message);
        if (vfiod_transfer("cookie:x", -1, &other, &e) < 0 || vfiod_claim_fd(other, "lifeline") < 0)
            errx(1, "%s", e.message);
        if (vfiod_transfer(vfiod_claim_id(other), syscall(SYS_pidfd_open, getppid(), 0), NULL, &e) < 0)
            errx(1, "%s", e.message);
        if (vfiod_plan(&request, &plan, &e) < 0)
            errx(1, "%s", e.message);
        puts(plan);
        fflush(stdout);
        free(plan);
        more = (VfiodRequestMore){.size = sizeof(more), .ticket = "the ticket"};
        request = (VfiodRequest){.more = &more};
        if (vfiod_plan(&request, &plan, &e) < 0)
            errx(1, "%s", e.message);
        free(plan);
        more.size = offsetof(VfiodRequestMore, ticket); /* of an older program */
        if (vfiod_plan(&request, &plan, &e) != -EINVAL)
            errx(1, "no device");
        vfiod_claim_free(other);
        vfiod_claim_free(claim);
    }'''

    WARNINGS = ['-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', f'-I{SOURCE}/src/client', f'-I{SOURCE}/src']

    def compile(self, code):
        """With the compiler, and the sanitizers, that the library was built with."""
        source, binary = f'{self.directory}/program.c', f'{self.directory}/program'
        pathlib.Path(source).write_text(code)
        subprocess.run([*os.environ['COMPILER'].split(), *self.WARNINGS, '-o', binary, source, LIBRARY], check=True,
                       timeout=60)
        return binary

    def test_all(self):
        pidfd, other = os.pidfd_open(os.getpid()), os.pidfd_open(os.getppid())
        inodes = [os.stat(fd).st_ino for fd in (pidfd, other)]
        os.close(pidfd)
        os.close(other)
        self.mock.pid, self.mock.pidfd_id = os.getpid(), {'pidfdId': inodes[0]} if inodes[0] != inodes[1] else {}
        status, out = self.run_program(self.compile(self.CODE))
        self.assertEqual(status, 0, out)
        self.assertEqual(json.loads(out), self.mock.plan(None, None)[0]['plan'])
        self.assertEqual(self.mock.calls, [
            ('Acquire', {'devices': ['0000:06:0d.0'], 'backend': 'iommufd', 'reason': 'a\n"b', 'memlock': 1 << 40,
                         'untainted': True, 'allowInteractiveAuthentication': True, 'grant': 'fd',
                         'tether': 'connection'}),
            ('AddDevices', {'claim': CLAIM, 'devices': [NIC]}),
            ('AddDevices', {'claim': CLAIM, 'devices': [NIC], 'reason': 'more', 'memlock': 4096, 'untainted': True,
                            'require': 'pasid,migration=p2p', 'network': 'vlan=12', 'allowInteractiveAuthentication': True}),
            ('ReleaseDevices', {'claim': CLAIM, 'devices': ['0000:06:0d.0']}),
            ('AnswerEviction', {'claim': CLAIM}),
            ('AnswerEviction', {'claim': CLAIM, 'more': 30}),
            ('ReadyToSleep', {'claim': CLAIM}),
            ('Transfer', {'claim': 'cookie:x'}, 0),
            ('Transfer', {'claim': CLAIM, 'tether': 'process', 'pid': self.mock.pid, **self.mock.pidfd_id}, 0),
            ('Plan', {'devices': ['0000:06:0d.0'], 'backend': 'iommufd', 'reason': 'a\n"b', 'memlock': 1 << 40,
                      'untainted': True, 'grant': 'fd', 'tether': 'connection'}),
            ('Plan', {'devices': [], 'ticket': 'the ticket'})])

    def test_taking_over_by_the_tether_of_the_claim(self):
        def take_over(tether, *names):
            def answer(p, _):
                listed, fds = self.mock.named(names)
                return {'claim': CLAIM, 'backend': 'iommufd', 'rule': '', 'devices': [], 'tether': tether, 'fds': listed}, fds

            self.mock.answers['Transfer'] = answer
            status, out = self.run_program(os.environ['LIBVFIOD_LOOP'], TRANSFER=CLAIM)
            self.assertEqual(self.mock.calls[-1], ('Transfer', {'claim': CLAIM}))
            return status, json.loads(out)

        for tether in ('process', 'connection', 'unit', 'explicit'):
            self.assertEqual(take_over(tether), (0, {'claim': CLAIM, 'lifeline': False}))
        self.assertEqual(take_over('lifeline', 'lifeline'), (0, {'claim': CLAIM, 'lifeline': True}))
        status, result = take_over('lifeline')
        self.assertEqual((status, result['error']), (1, 'Failed'))

    def test_header_in_c_and_cplusplus(self):
        source = SOURCE / 'tests/integration/libvfiod-abi.c'
        self.assertEqual(self.run_program(self.compile(source.read_text())), (0, ''))
        subprocess.run(['g++', '-x', 'c++', '-fsyntax-only', *self.WARNINGS, source], check=True, timeout=60)

    def test_examples_of_the_manual(self):
        manual = (SOURCE / 'man/libvfiod.3.scd').read_text()
        examples = [e for e in re.findall(r'^```\n(.*?)^```$', manual, re.MULTILINE | re.DOTALL) if 'int main' in e]
        self.assertGreaterEqual(len(examples), 2)
        # Leaves of the manual, which shows what is ours: the program that uses the devices.
        stubs = '''
            static inline void drive(int device, int iommufd) { if (device < 0 || iommufd < 0) __builtin_abort(); }
            '''
        for example in examples:
            status, out = self.run_program(self.compile(stubs + example.replace('\\\\', '\\').replace('#include <vfiod.h>',
                                                                                 '#include "vfiod.h"')))
            self.assertEqual(status, 0, out)
        self.wait_closed()

    def test_the_recipe(self):
        """The page, the program that the test machine runs for it, and a reader's compiler."""
        page = (SOURCE / 'docs/recipes/c.md').read_text()
        source, = re.findall(r'^```c [^\n]*\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
        self.assertEqual(source, (SOURCE / 'examples/board.c').read_text())
        program = self.compile(source)
        # The pretended files know none of the kernel's calls.
        self.assertEqual(self.run_program(program, EDU), (
            1, 'program: cannot bind the device to the iommufd: Inappropriate ioctl for device\n'
            f'{EDU} by rule one (/x.json:2), backend iommufd\n'))
        self.wait_closed()


class DaemonTest(VfiodTestCase):
    sockets = ('varlink',)

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme')
        self.before = self.host.binding()
        self.start()

    def loop(self, transport, *devices, **environment):
        process = self.tool('env', f'VFIOD_TRANSPORT={transport}', f'VFIOD_SOCKET={self.socket_path()}',
                            *(f'{k}={v}' for k, v in environment.items()), os.environ['LIBVFIOD_LOOP'], *devices)
        return process, lambda: json.loads(process.stdout.readline())

    def devices_of(self, c, claim):
        return list(c.properties(f'/org/vfiod1/claim/{claim}', 'Claim')['Devices'])

    def test_claim_that_grows_and_is_watched(self):
        c = self.client()
        for transport in ('varlink', 'dbus'):
            for give_back in ({}, {'GIVE_BACK': 1}):
                with self.subTest(transport=transport, **give_back):
                    process, line = self.loop(transport, '06:00.0', '07:00.0', COOKIE='vm-1', **give_back)
                    first = line()
                    claim = first.pop('claim', None)
                    self.assertEqual(first, {'transport': transport, 'userdata': 'mine'})
                    self.assertEqual(line(), {'added': True, 'same': True})
                    if give_back:
                        self.assertEqual(line(), {'given back': True})
                    self.assertEqual(line(), {'state': 'held', 'claim': claim, 'failure': ''})
                    self.assertEqual(self.devices_of(c, claim), [harness.device_path(d.name) for d in (
                        [self.nic] if give_back else [self.nic, self.disk])])
                    c.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
                    self.assertEqual(line(), {'state': 'draining', 'claim': claim, 'failure': ''})
                    process.kill()  # it has the files
                    wait(lambda: not self.records(), 'the claim is over')
                    self.assertEqual(self.host.binding(), self.before)

    def test_device_that_cannot_be_added(self):
        for transport in ('varlink', 'dbus'):
            with self.subTest(transport=transport):
                process, line = self.loop(transport, '06:00.0', '08:00.0')
                line()
                self.assertEqual(line(), {'error': 'NoSuchDevice'})
                self.assertEqual(line()['state'], 'held')
                process.kill()
                wait(lambda: not self.records(), 'the claim is over')


class ObjectTest(unittest.TestCase):
    def test_symbols_and_versions(self):
        out = subprocess.run(['nm', '-D', '--defined-only', LIBRARY], check=True, stdout=subprocess.PIPE, text=True).stdout
        found = {tuple(l.split()[2].split('@@')) for l in out.splitlines() if ' T ' in l}
        wanted = set()
        version = None
        for line in (SOURCE / 'src/client/libvfiod.sym').read_text().splitlines():
            if match := re.fullmatch(r'(LIBVFIOD_\w+) {', line):
                version = match[1]
            elif match := re.fullmatch(r'    (vfiod_\w+);', line):
                wanted.add((match[1], version))
        self.assertEqual(found, wanted)
        # What the version before had keeps its version, or programs that were built with it do not start any more.
        self.assertLessEqual({(f'vfiod_{n}', 'LIBVFIOD_0') for n in (
            'acquire acquire_request claim_backend claim_device claim_device_fd claim_fd claim_free claim_id '
            'claim_nth_fd claim_rule claim_take_fd release').split()}, found)

    def test_needs_libc_alone(self):
        out = subprocess.run(['readelf', '-d', LIBRARY], check=True, stdout=subprocess.PIPE, text=True).stdout
        needed = set(re.findall(r'\(NEEDED\).*\[(.*)\]', out)) - {'libasan.so.8', 'libubsan.so.1', 'libm.so.6'}
        self.assertEqual({re.sub(r'\.so.*', '', n) for n in needed}, {'libc'})


if __name__ == '__main__':
    harness.main()

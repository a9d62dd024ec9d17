#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfioctl selftest: hand-overs over the pretended kernel, and each step that can go wrong."""

import errno
import json
import os
import signal
import subprocess

import harness
from harness import VfiodTestCase, preload_environment, wait
from host import VFIO
from varlink_client import VarlinkTestCase

FOUND_PROBLEMS = 4  # exit status


class SelftestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()

    def selftest(self, *arguments, status=0, **environment):
        return self.run_on_host(os.environ['VFIOCTL'], 'selftest', *arguments, status=status, environment=environment)

    def json(self, *arguments, status=0, **environment):
        return json.loads(self.selftest('--json', *arguments, status=status, **environment))

    def failed(self, step, *words, rounds=1):
        """The output of a test that fails at this step, and says these words about it."""
        result = self.json(self.nic.name, '--rounds', '3', status=FOUND_PROBLEMS)
        self.assertEqual((result['verdict'], result['step'], len(result['rounds'])), ('fail', step, rounds - 1), result)
        for word in words:
            self.assertIn(word, result['message'])
        return result


class GoodTest(SelftestCase):
    def test_every_round_is_a_whole_hand_over(self):
        self.start()
        output = self.selftest(self.nic.name, '--rounds', '4')
        self.assertEqual([line.split()[0] for line in output.splitlines() if line][:5], ['ROUND', '1', '2', '3', '4'])
        self.assertIn('PASS: 4 hand-overs, backend iommufd, rule test (', output)
        self.assertIn(f'{self.nic.name} is as before: driver e1000e.\n', output)
        self.assertEqual(len(self.log_lines(' got ')), 4)
        self.assertGreaterEqual(self.nic.resets, 4)
        self.assert_untouched(self.before)

    def test_json(self):
        self.start()
        result = self.json('06:00.0', '--rounds=5')
        self.assertEqual((result['verdict'], result['backend'], result['rule']), ('pass', 'iommufd', f'test ({self.directory}/policy.d/50-test.json:3)'))
        self.assertEqual(len(result['rounds']), 5)
        for phase in ('claim', 'use', 'return'):
            times = sorted(r[phase] for r in result['rounds'])
            self.assertEqual(result[phase], {'min': times[0], 'median': times[2], 'max': times[4]})
        self.assertNotIn('step', result)

    def test_other_devices_of_the_group_are_looked_at(self):
        sibling = self.host.add_device('0000:06:00.1', group=8, driver='snd_hda_intel')
        self.set_policy([self.rule(siblings='park')])
        before = self.host.binding()
        self.start()
        self.assertIn(f'{sibling.name} is as before: driver snd_hda_intel.\n', self.selftest(self.nic.name))
        self.assert_untouched(before)

    def test_several_devices_at_once(self):
        disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.start()
        output = self.selftest(self.nic.name, disk.name, '--rounds', '1')
        self.assertIn('PASS: 1 hand-over, ', output)
        self.assertIn(f'{disk.name} is as before: driver vfio-pci.\n', output)

    def test_a_device_without_a_driver_stays_without_one(self):
        bare = self.host.add_device('0000:0a:00.0', group=10)
        self.start()
        self.assertIn(f'{bare.name} is as before: driver none.\n', self.selftest(bare.name))

    def test_vdpa(self):
        vdpa = self.host.add_vdpa('vdpa0', driver='virtio_vdpa')
        self.host.add_vdpa('vdpa1', driver='vhost_vdpa')
        self.set_policy([self.rule(device='vdpa:*')])
        self.start()
        self.assertIn('backend vhost-vdpa', self.selftest(vdpa.name))


class GroupTest(SelftestCase):
    host_options = {'iommufd': False, 'cdev': False}

    def test_group(self):
        self.start()
        self.assertIn('PASS: 3 hand-overs, backend group', self.selftest(self.nic.name))

    def test_compat(self):
        self.kernel.iommufd_container = True
        self.start()
        self.assertIn('PASS: 3 hand-overs, backend compat', self.selftest(self.nic.name))

    def test_a_group_whose_device_does_not_open(self):
        self.start()
        self.kernel.fail_ioctl[harness_request('GROUP_GET_DEVICE_FD')] = errno.EIO
        self.failed('use', self.nic.name, 'does not open it in its group', 'Input/output error')
        self.assert_untouched(self.before)


def harness_request(name):
    import fake_kernel
    return getattr(fake_kernel, 'VFIO_' + name)


class SocketTest(SelftestCase, VarlinkTestCase):
    def test_over_the_socket(self):
        self.start()
        self.assertIn('PASS: 3 hand-overs', self.selftest(self.nic.name, VFIOD_SOCKET=self.socket_path()))


class BadTest(SelftestCase):
    def test_a_device_that_does_not_come_back(self):
        self.start()
        self.kernel.fail('bind', self.nic.address, errno.EIO, driver='e1000e')
        result = self.failed('return', 'quarantine')
        self.assertIn('vfioctl quarantine retry', result['fix'])

    def test_a_device_that_dies_when_its_driver_has_it_back(self):
        """vfiod has looked before that."""
        self.start()
        self.kernel.before('bind', lambda: self.kernel.put(self.nic.path + '/config', b'\xff' * 4096), self.nic.address,
                           driver='e1000e')
        self.failed('compare', self.nic.name, 'does not answer any more')
        self.assert_untouched(self.before)

    def test_a_reset_that_fails_in_the_second_round(self):
        nic = self.host.add_device('0000:0b:00.0', group=11, driver=VFIO)
        self.start()
        self.kernel.before('reset', lambda: self.kernel.fail('reset', nic.address, errno.ENOTTY), nic.address)
        result = self.json(nic.name, '--rounds', '5', status=FOUND_PROBLEMS)
        self.assertEqual((result['step'], len(result['rounds'])), ('return', 1), result)

    def test_a_device_that_answers_with_ones(self):
        self.start()
        self.nic.silent = True
        result = self.failed('use', self.nic.name, 'reads as ones')
        self.assertIn('journalctl -k', result['fix'])
        wait(lambda: self.records() == [], 'it was given back')
        self.assert_untouched(self.before)

    def test_a_device_that_is_silent_after_its_reset(self):
        self.start()
        self.kernel.before('reset', lambda: self.kernel.put(self.nic.path + '/config', b'\xff' * 4096), self.nic.address)
        self.failed('return', 'quarantine')

    def test_another_device_answers(self):
        self.start()
        self.kernel.put(self.nic.path + '/config', b'\x86\x80\x99\x99' + bytes(4092))
        real = self.kernel._read_device
        self.kernel._read_device = lambda *arguments: b'\x86\x80\x98\x98' if real(*arguments) else b''
        self.failed('use', 'another device answers')

    def test_the_kernel_does_not_bind_it(self):
        self.start()
        self.kernel.fail_ioctl[harness_request('DEVICE_BIND_IOMMUFD')] = errno.EPERM
        self.failed('use', 'does not bind it to the iommufd', 'Operation not permitted')
        self.assert_untouched(self.before)

    def test_text(self):
        self.start()
        self.nic.silent = True
        output = self.selftest(self.nic.name, status=FOUND_PROBLEMS)
        self.assertRegex(output, rf'FAIL: round 1 of 3, step use: {self.nic.name}: it does not answer.*\nFix: ')
        self.assertNotIn('PASS', output)

    def test_a_claim_that_is_refused_later(self):
        """With the reason that any claim would get."""
        self.start()
        self.kernel.before('reset', lambda: self.kernel.fail('bind', self.nic.address, errno.EIO, driver=VFIO),
                           self.nic.address)
        self.failed('claim', self.nic.name, VFIO, rounds=2)
        self.assert_untouched(self.before)

    def test_refusals_are_those_of_any_claim(self):
        self.set_policy([self.rule(effect='deny')])
        self.start()
        self.assertEqual(self.selftest(self.nic.name, status=17), '')
        self.assertIn(f'{self.nic.name}', self.error_output)
        self.assertIn('rule test', self.error_output)
        self.assertEqual(json.loads(self.error_json(self.nic.name, status=17))['error'], 'AccessDenied')
        self.selftest('0000:77:00.0', status=14)
        self.assert_untouched(self.before)

    def error_json(self, *arguments, status):
        self.selftest('--json', *arguments, status=status)
        return self.error_output

    def test_bad_arguments(self):
        self.start()
        for arguments in ([], ['--rounds', '0', self.nic.name], ['--rounds=-1', self.nic.name],
                          ['--rounds=1000000', self.nic.name], ['--rounds=x', self.nic.name],
                          ['--memlock=1G', self.nic.name]):
            self.selftest(*arguments, status=2)
        self.selftest('nonsense', status=10)

    def test_no_daemon(self):
        self.selftest(self.nic.name, status=3)


class SignalTest(SelftestCase):
    def test_interrupted(self):
        self.start()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            environment = {**preload_environment(self.host), 'DBUS_SYSTEM_BUS_ADDRESS': self.bus.address}
            gate = self.kernel.hold('ioctl', data='/dev/vfio/devices/vfio0')
            process = subprocess.Popen([os.environ['VFIOCTL'], 'selftest', self.nic.name, '--rounds', '1000'],
                                       env=environment, stdout=subprocess.DEVNULL)
            self.addCleanup(process.kill)
            wait(lambda gate=gate: gate.entered, 'the device is in use')
            process.send_signal(number)
            gate.let_go()
            self.assertEqual(process.wait(timeout=20), -number)
            wait(lambda: self.records() == [], 'the claim has ended')
            self.assert_untouched(self.before)


if __name__ == '__main__':
    harness.main()

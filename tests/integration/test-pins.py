#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pins: what udev's program does when devices come, and vfioctl's verbs, with the real daemon beside them."""

import json
import os
import pathlib

import harness
from harness import VfiodTestCase, wait
from host import PCI_BRIDGE, ROOT_PORT, VFIO

SERIAL, OTHER_SERIAL = '00-1b-21-ff-ff-a1-b2-c3', '00-1b-21-ff-ff-a1-b2-c4'
PATH = '0000:00:1c.0/00.0'
FILE = '0000:00:1c.0-00.0.json'


class PinTestCase(VfiodTestCase):
    maxDiff = None

    def setUp(self):
        super().setUp()
        self.pins = pathlib.Path(self.directory, 'etc', 'pins.d')
        self.pins.parent.mkdir(mode=0o755)
        self.port = self.host.add_device('0000:00:1c.0', group=3, driver='pcieport', class_code=0x060400, reset='',
                                         port_type=ROOT_PORT)

    def add_card(self, address='0000:06:00.0', **more):
        return self.host.add_device(address, **{'parent': self.port, 'group': 8, 'host_driver': 'e1000e',
                                                'serial': SERIAL, **more})

    def pin(self, name=FILE, text=None, **more):
        document = {'path': PATH, 'id': '8086:10d3:8086:a01f', 'serial': SERIAL, 'driver': VFIO, **more}
        self.pins.mkdir(mode=0o755, exist_ok=True)
        path = self.pins / name
        path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}) if text is None else text)
        path.chmod(0o644)
        return path

    def program(self, *arguments, status=0):
        """What it prints. Its report is in self.error_output."""
        return self.run_on_host(os.environ['VFIOD_PIN'], f'--directory={self.pins}', *arguments, status=status)

    def plug_events(self, device):
        """What the rules do for it, but for loading the driver."""
        printed = self.program(device.address)
        if printed:
            self.program('--bind', device.address)
        return printed

    def vfioctl(self, *arguments, status=0):
        return self.run_on_host(os.environ['VFIOCTL'], *arguments, status=status,
                                environment={'VFIOD_PINS_DIRECTORY': str(self.pins)})

    def listed(self):
        """The only pin."""
        result = json.loads(self.vfioctl('pins', '--json'))
        self.assertEqual(result['errors'], [])
        pin, = result['pins']
        return pin

    def binding(self, device):
        return self.host.binding()[device.address]


class ProgramTest(PinTestCase):
    """What udev runs."""

    def test_nothing_is_pinned(self):
        card = self.add_card()
        self.assertEqual(self.plug_events(card), '')
        self.pins.mkdir()
        self.assertEqual(self.plug_events(card), '')
        self.assertEqual(self.error_output, '')
        self.assertEqual(self.binding(card), (None, '(null)\n'))

    def test_bound_before_a_host_driver(self):
        card = self.add_card()
        self.pin()
        self.assertEqual(self.program(card.address), f'VFIOD_PIN_DRIVER={VFIO}\n')
        self.assertEqual(self.binding(card), (None, f'{VFIO}\n'))
        self.program('--bind', card.address)
        self.assertEqual(self.binding(card), (VFIO, f'{VFIO}\n'))
        # Again, as when somebody triggers all devices: nothing is left to do.
        writes = len(self.kernel.writes)
        self.assertEqual(self.plug_events(card), '')
        self.program('--bind', card.address)
        self.assertEqual(len(self.kernel.writes), writes)
        self.assertEqual(self.error_output, '')

    def test_the_event_of_another_device_is_enough(self):
        """The driver that is loaded for it would take the pinned one, too."""
        card, other = self.add_card(), self.add_card('0000:07:00.0', parent=None, group=9, serial=None)
        self.pin()
        self.assertEqual(self.program(other.address), '')
        self.assertEqual(self.binding(card), (None, f'{VFIO}\n'))
        self.assertEqual(self.binding(other), (None, '(null)\n'))
        # The device is bound by its own event.
        self.program('--bind', other.address)
        self.assertEqual(self.binding(card), (None, f'{VFIO}\n'))

    def test_buses_have_new_numbers(self):
        card = self.add_card('0000:41:00.0')
        self.pin()
        self.plug_events(card)
        self.assertEqual(self.binding(card), (VFIO, f'{VFIO}\n'))

    def test_too_late(self):
        card = self.add_card(driver='e1000e')
        self.pin()
        before = self.host.binding()
        self.assertEqual(self.plug_events(card), '')
        self.assertIn('pci:0000:06:00.0 is pinned. The device is with the driver e1000e', self.error_output)
        self.program('--bind', card.address)
        self.assertEqual(self.host.binding(), before)

    def test_another_card_in_the_place(self):
        for card in ({'serial': OTHER_SERIAL}, {'serial': None}, {'device': 0x10D4}, {'subsystem_device': 0xA020},
                     {'vendor': 0x1AF4}):
            with self.subTest(**card):
                swapped = self.add_card(**card)
                self.pin()
                self.assertEqual(self.plug_events(swapped), '')
                self.assertIn('Another card', self.error_output)
                self.program('--bind', swapped.address)
                self.assertEqual(self.binding(swapped), (None, '(null)\n'))
                self.host.remove_device(swapped).join()

    def test_the_card_in_another_place(self):
        card = self.add_card(parent=None)
        self.pin()
        self.assertEqual(self.plug_events(card), '')
        self.assertEqual(self.binding(card), (None, '(null)\n'))

    def test_a_serial_number_that_cannot_be_read(self):
        card = self.add_card(config_size=256)
        self.pin()
        self.assertEqual(self.plug_events(card), '')
        self.assertIn('serial number of the card cannot be read', self.error_output)
        self.assertEqual(self.binding(card), (None, '(null)\n'))

    def test_what_another_program_wants_is_left_alone(self):
        card = self.add_card(override='e1000e')
        self.pin()
        self.assertEqual(self.plug_events(card), '')
        self.assertIn('Another program has set driver_override', self.error_output)
        self.program('--bind', card.address)
        self.assertEqual(self.binding(card), (None, 'e1000e\n'))

    def test_no_driver(self):
        card = self.add_card()
        self.pin(driver='none')
        self.assertEqual(self.plug_events(card), '')
        self.assertEqual(self.binding(card), (None, 'none\n'))
        self.assertEqual(self.error_output, '')

    def test_a_driver_that_is_not_loaded(self):
        card = self.add_card()
        self.pin(driver='nvgrace-gpu-vfio-pci')
        self.assertEqual(self.program(card.address), 'VFIOD_PIN_DRIVER=nvgrace-gpu-vfio-pci\n')
        self.program('--bind', card.address, status=1)
        self.assertIn('it is not loaded', self.error_output)

    def test_a_driver_that_does_not_take_it(self):
        card = self.add_card()
        self.pin()
        self.program(card.address)
        self.host.fail_binding(card, 16)
        self.program('--bind', card.address, status=1)
        self.assertIn(f'The driver {VFIO} did not take it: Device or resource busy', self.error_output)

    def test_files_with_errors_do_not_hold_up_the_others(self):
        card = self.add_card()
        self.pin('10-broken.json', text='{"path":')
        self.pin('20-hostile.json', path=PATH + '/../../../..', driver='../../../bin/sh')
        self.pin('30-open.json').chmod(0o666)
        (self.pins / '40-link.json').symlink_to('/etc/passwd')
        (self.pins / '50-directory.json').mkdir()
        os.mkfifo(self.pins / '60-fifo.json', 0o600)
        self.pin('70-large.json', text=' ' * (1 << 20))
        self.pin('notes.txt', text='no pin')
        self.pin('80-good.json')
        self.pin('90-again.json', driver='none')
        self.assertEqual(self.program(card.address), f'VFIOD_PIN_DRIVER={VFIO}\n')
        self.assertEqual(self.error_output.splitlines(), [
            f"{self.pins}/10-broken.json:1:9: error: expected a value after ':', found the end of the file",
            f'{self.pins}/20-hostile.json:1:10: error: "{PATH}/../../../.." is not a device path, expected one like '
            '"0000:00:1c.0/00.0", in lower case',
            f'{self.pins}/20-hostile.json:1:119: error: "../../../bin/sh" is not the name of a driver, expected one like '
            '"vfio-pci", or "none"',
            f'{self.pins}/30-open.json:1:1: error: the file must belong to root and be writable only by root',
            f'{self.pins}/40-link.json:1:1: error: cannot open: Too many levels of symbolic links',
            f'{self.pins}/50-directory.json:1:1: error: cannot read: Is a directory',
            f'{self.pins}/60-fifo.json:1:1: error: cannot read: Invalid argument',
            f'{self.pins}/70-large.json:1:1: error: cannot read: Argument list too long',
            f'{self.pins}/90-again.json:1:1: error: {PATH} is already pinned by 80-good.json'])

    def test_a_directory_that_others_can_write_to(self):
        card = self.add_card()
        self.pin()
        self.pins.chmod(0o777)
        self.assertEqual(self.plug_events(card), '')
        self.assertIn('the directory must belong to root', self.error_output)
        self.assertEqual(self.binding(card), (None, '(null)\n'))

    def test_a_device_that_says_nonsense(self):
        card = self.add_card()
        self.pin()
        for attribute, text in (('vendor', 'x' * 4000), ('device', ''), ('driver_override', 'a' * 4000),
                                ('subsystem_vendor', '0x18086\n')):
            before = self.kernel.get(f'{card.path}/{attribute}')
            with self.subTest(attribute):
                self.kernel.put(f'{card.path}/{attribute}', text)
                self.assertEqual(self.plug_events(card), '')
            self.kernel.put(f'{card.path}/{attribute}', before)
        self.assertEqual(self.binding(card), (None, '(null)\n'))
        self.assertEqual(self.plug_events(card), f'VFIOD_PIN_DRIVER={VFIO}\n')

    def test_wrong_use(self):
        for arguments in ((), ('eth0',), ('../../x',), ('0000:06:00.0', '0000:06:00.0'), ('--what', '0000:06:00.0')):
            self.program(*arguments, status=2)
        self.pin()
        self.assertEqual(self.program('0000:ff:00.0'), '')
        self.program('--bind', '0000:ff:00.0')


class VerbTest(PinTestCase):
    def setUp(self):
        super().setUp()
        self.card = self.add_card()
        self.set_policy([self.rule()])
        self.start()

    def test_pin_and_unpin(self):
        printed = self.vfioctl('pin', '06:00.0')
        self.assertIn(f'pci:0000:06:00.0 is pinned: driver {VFIO}, place {PATH}, card 8086:10d3:8086:a01f, serial number {SERIAL}.',
                      printed)
        self.assertIn(f'The device is with {VFIO} now.', printed)
        self.assertEqual(self.binding(self.card), (VFIO, f'{VFIO}\n'))
        self.assertEqual((self.pins / FILE).read_text(),
                         f'{{\n    "path": "{PATH}",\n    "id": "8086:10d3:8086:a01f",\n    "serial": "{SERIAL}",\n'
                         f'    "driver": "{VFIO}"\n}}\n')
        self.assertEqual(os.stat(self.pins / FILE).st_mode & 0o777, 0o644)
        self.assertEqual(self.listed(), {
            'file': FILE, 'device': 'pci:0000:06:00.0', 'path': PATH, 'id': '8086:10d3:8086:a01f', 'serial': SERIAL,
            'driver': VFIO, 'state': 'in-force', 'boundTo': VFIO, 'why': ''})
        self.assertIn(f'It stays with {VFIO} until the next boot', self.vfioctl('unpin', 'pci:0000:06:00.0'))
        self.assertFalse(self.pins.exists())
        self.assertEqual(self.vfioctl('pins'), 'No device is pinned.\n')
        self.vfioctl('unpin', 'pci:0000:06:00.0', status=1)
        self.assertIn("is not pinned. 'vfioctl pins' shows the pins.", self.error_output)

    def test_another_driver_or_none(self):
        self.assertIn('The device has no driver now.', self.vfioctl('pin', '06:00.0', '--driver=none'))
        self.assertEqual(self.binding(self.card), (None, 'none\n'))
        self.assertEqual(self.listed()['state'], 'in-force')
        # Another pin of the same place, which is ours to replace.
        self.assertIn(f'The device is with {VFIO} now.', self.vfioctl('pin', '06:00.0'))
        self.assertEqual(self.binding(self.card), (VFIO, f'{VFIO}\n'))
        self.assertEqual(self.listed()['state'], 'in-force')

    def test_the_override_of_a_misspelt_driver_is_replaced(self):
        self.vfioctl('pin', '06:00.0', '--driver=vifo-pci')
        self.assertEqual(self.binding(self.card), (None, 'vifo-pci\n'))
        self.assertIn(f'The device is with {VFIO} now.', self.vfioctl('pin', '06:00.0'))
        self.assertEqual(self.listed()['state'], 'in-force')

    def test_an_override_of_somebody_else_is_not(self):
        self.kernel.put(self.card.path + '/driver_override', 'pci-stub\n')
        self.assertIn('Another program has set driver_override of the device to pci-stub', self.vfioctl('pin', '06:00.0'))
        self.assertEqual(self.listed()['state'], 'overridden')
        self.vfioctl('unpin', '06:00.0')
        self.assertEqual(self.host.attribute(self.card, 'driver_override'), 'pci-stub\n')

    def test_unpin_takes_the_override_back(self):
        for driver, bound in ((VFIO, VFIO), ('none', None)):
            self.vfioctl('pin', '06:00.0', f'--driver={driver}')
            self.vfioctl('unpin', '06:00.0')
            self.assertEqual(self.binding(self.card), (bound, '(null)\n'))
            self.host.remove_device(self.card).join()
            self.card = self.add_card()

    def wait_seen(self, driver):
        """vfiod learns by an event which driver the card has."""
        c = self.client()
        wait(lambda: c.device(self.card)['Driver'] == (driver or ''), 'vfiod has seen it')

    def test_unpin_of_a_claimed_device_leaves_the_override_to_the_claim(self):
        self.vfioctl('pin', '06:00.0')
        self.wait_seen(VFIO)
        claim = self.client().acquire(self.card)
        self.assertIn(f'Its driver_override stays {VFIO}', self.vfioctl('unpin', '06:00.0'))
        self.assertEqual(self.binding(self.card), (VFIO, f'{VFIO}\n'))
        claim.close()
        self.wait_gone(claim)

    def test_unpin_without_the_daemon(self):
        self.vfioctl('pin', '06:00.0')
        self.daemon.stop()
        self.assertIn('vfiod does not answer', self.vfioctl('unpin', '06:00.0'))
        self.assertEqual(self.binding(self.card), (VFIO, f'{VFIO}\n'))
        self.assertFalse(self.pins.exists())

    def test_drivers_that_are_none(self):
        self.vfioctl('pin', '06:00.0', '--driver=none')
        for driver in ('', '../x', '-r', 'a b', 'x' * 64):
            self.vfioctl('pin', '06:00.0', f'--driver={driver}', status=2)
        self.assertEqual(self.listed()['driver'], 'none')

    def test_a_device_with_a_driver_waits_for_the_boot(self):
        nic = self.add_card('0000:07:00.0', parent=None, group=9, driver='e1000e', serial=OTHER_SERIAL)
        before = self.host.binding()
        self.assertIn('The pin takes effect at the next boot.',
                      self.vfioctl('pin', '07:00.0'))
        self.assertEqual(self.host.binding(), before)
        self.assertEqual(self.listed()['state'], 'too-late')
        # As after a boot, when the host's driver is not loaded yet.
        self.host.remove_device(nic).join()
        self.assertEqual(self.listed()['state'], 'absent')
        nic = self.add_card('0000:07:00.0', parent=None, group=9, serial=OTHER_SERIAL)
        self.plug_events(nic)
        self.assertEqual(self.binding(nic), (VFIO, f'{VFIO}\n'))
        self.assertEqual(self.listed()['state'], 'in-force')

    def test_swapped_and_moved(self):
        self.vfioctl('pin', '06:00.0')
        self.host.remove_device(self.card).join()
        other = self.add_card(serial=OTHER_SERIAL)
        self.plug_events(other)
        self.assertEqual(self.binding(other), (None, '(null)\n'))
        pin = self.listed()
        self.assertEqual((pin['state'], pin['device'], pin['boundTo']), ('swapped', 'pci:0000:06:00.0', ''))
        self.assertIn(f'its serial number is {OTHER_SERIAL} in place of {SERIAL}', pin['why'])
        moved = self.add_card('0000:07:00.0', parent=None, group=9)
        self.plug_events(moved)
        self.assertEqual(self.binding(moved), (None, '(null)\n'))
        pin = self.listed()
        self.assertEqual((pin['state'], pin['device']), ('moved', 'pci:0000:07:00.0'))
        self.assertIn('The card is pci:0000:07:00.0 now, at 0000:07:00.0.', self.vfioctl('pins'))
        # By its place, since the device in it is another one.
        self.vfioctl('unpin', PATH)

    def test_what_must_not_be_pinned(self):
        nic = self.add_card('0000:07:00.0', parent=None, group=9, driver='e1000e')
        self.host.add_interface(f'{nic.path}/net/eth0', uppers=['/sys/devices/virtual/net/bond0'])
        wait(lambda: '07:00.0' in self.vfioctl('list'), 'vfiod has seen it')
        self.vfioctl('pin', '07:00.0', status=25)
        self.assertIn('The host needs pci:0000:07:00.0: ', self.error_output)
        self.assertIn('eth0', self.error_output)
        claim = self.client().acquire(self.card)
        self.vfioctl('pin', '06:00.0', status=20)
        self.assertIn('Pin it when the claim has ended.', self.error_output)
        claim.close()
        self.wait_gone(claim)
        self.vfioctl('pin', '00:1c.0', status=49)
        self.assertIn('is a bridge', self.error_output)
        self.vfioctl('pin', '0b:00.0', status=14)
        self.vfioctl('pin', 'platform:ff000000.ethernet', status=49)
        self.assertIn('pins are for PCI devices', self.error_output)
        self.vfioctl('pin', 'eth0', status=2)
        self.host.add_device('0000:08:00.0', group=10, driver='e1000e')
        os.unlink(f'{self.host.root}/sys/bus/pci/devices/0000:08:00.0/driver_override')
        self.vfioctl('pin', '08:00.0', status=49)
        self.assertIn('no driver_override', self.error_output)
        self.assertFalse(self.pins.exists())

    def test_a_place_that_a_file_of_another_name_pins(self):
        self.pin('mine.json', driver='none')
        self.vfioctl('pin', '06:00.0', status=1)
        self.assertIn(f'The place {PATH} is pinned by {self.pins}/mine.json.', self.error_output)
        self.vfioctl('unpin', 'mine.json')
        self.vfioctl('pin', '06:00.0')

    def test_files_with_errors(self):
        self.vfioctl('pin', '06:00.0')
        self.pin('10-broken.json', text='{"path": 1}')
        result = json.loads(self.vfioctl('pins', '--json'))
        self.assertEqual([pin['state'] for pin in result['pins']], ['in-force'])
        self.assertIn(f'{self.pins}/10-broken.json:1:10: error: ', result['errors'][0])
        self.assertIn('10-broken.json:1:10: error: ', self.vfioctl('pins'))
        self.assertIn('10-broken.json is no longer pinned', self.vfioctl('unpin', '10-broken.json'))
        self.vfioctl('unpin', '../../../etc/passwd', status=1)
        self.assertEqual(self.listed()['state'], 'in-force')

    def test_a_claim_ends_in_the_pinned_state(self):
        for driver in (VFIO, 'none'):
            with self.subTest(driver):
                self.vfioctl('pin', '06:00.0', f'--driver={driver}')
                if driver == 'none':  # as after a boot
                    self.host.remove_device(self.card).join()
                    self.card = self.add_card()
                    self.plug_events(self.card)
                before = self.binding(self.card)
                self.assertEqual(before, (VFIO if driver == VFIO else None, f'{driver}\n'))
                self.wait_seen(before[0])
                claim = self.client().acquire(self.card)
                self.assertEqual(self.binding(self.card), (VFIO, f'{VFIO}\n'))
                # Somebody triggers all devices meanwhile.
                self.plug_events(self.card)
                self.assertEqual(self.binding(self.card), (VFIO, f'{VFIO}\n'))
                claim.close()
                self.wait_gone(claim)
                self.assertEqual(self.binding(self.card), before)

    def test_recovery_ends_in_the_pinned_state(self):
        self.vfioctl('pin', '06:00.0', '--driver=none')
        before = self.binding(self.card)
        claim = self.client().acquire(self.card)
        self.daemon.kill()
        claim.close()
        self.start()
        self.wait_gone(claim)
        self.assertEqual(self.binding(self.card), before)

    def test_nobody_but_root(self):
        self.pins.parent.chmod(0o555)
        if os.geteuid() != 0:
            self.vfioctl('pin', '06:00.0', status=1)
            self.assertIn('Only root can pin a device', self.error_output)
        self.daemon.stop()
        self.vfioctl('pin', '06:00.0', status=3)
        self.assertFalse(self.pins.exists())


class ImportTest(PinTestCase):
    """What other tools bind, on the pretended host, in files of the test."""

    def setUp(self):
        super().setUp()
        self.card = self.add_card()
        self.twin = self.add_card('0000:07:00.0', parent=None, group=9, serial=OTHER_SERIAL)
        self.gpu = self.add_card('0000:08:00.0', parent=None, group=10, serial=None, vendor=0x10DE, device=0x1B80)
        self.set_policy([self.rule()])
        self.start()

    def file(self, name, text):
        path = pathlib.Path(self.directory, 'other', name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    def found(self, *arguments):
        """The pins as device, driver and source, and what was left out."""
        result = json.loads(self.vfioctl('import', '--json', *arguments))
        return [(p['device'], p['driver'], os.path.basename(p['source'])) for p in result['pins']], \
            [(os.path.basename(s['source']), s['what'], s['why']) for s in result['skipped']]

    def test_all_three_tools(self):
        driverctl = self.file('pci-0000:06:00.0', 'none\n')
        modprobe = self.file('vfio.conf', '# mine\noptions vfio-pci ids=8086:10d3,1af4:1041\n')
        command_line = self.file('cmdline', 'quiet vfio-pci.ids=10de:1b80,zz\n')
        files = (driverctl, modprobe, command_line)
        pins, skipped = self.found(*files)
        self.assertCountEqual(pins, [
            ('pci:0000:06:00.0', 'none', 'pci-0000:06:00.0'),  # which names this one, so it counts
            ('pci:0000:07:00.0', VFIO, 'vfio.conf:2'),
            ('pci:0000:08:00.0', VFIO, 'cmdline:1')])
        self.assertEqual(skipped, [('vfio.conf:2', '1af4:1041', 'No device of this host has this id.'),
                                   ('cmdline:1', 'zz', 'This is no id of a device.')])
        self.assertFalse(self.pins.exists())
        self.assertIn('Nothing is written. Run the same as root with --write.', self.vfioctl('import', *files))

        before = self.host.binding()
        printed = self.vfioctl('import', '--write', *files)
        self.assertIn('These pins are written.', printed)
        self.assertEqual(sorted(os.listdir(self.pins)), ['0000:00:1c.0-00.0.json', '0000:07:00.0.json', '0000:08:00.0.json'])
        self.assertEqual(json.loads((self.pins / '0000:07:00.0.json').read_text()), {
            'path': '0000:07:00.0', 'id': '8086:10d3:8086:a01f', 'serial': OTHER_SERIAL, 'driver': VFIO})
        self.assertEqual({d: b[0] for d, b in self.host.binding().items()}, {d: b[0] for d, b in before.items()})
        # Once more: all are there.
        pins, skipped = self.found('--write', *files)
        self.assertEqual((pins, [why for _, _, why in skipped].count('It is pinned already.')), ([], 3))

    def test_a_file_that_is_not_there(self):
        for arguments in (['/nonexistent'], [self.file('vfio.conf', ''), '/nonexistent'], ['/nonexistent', '--write'],
                          ['--json', '/nonexistent']):
            self.assertEqual(self.vfioctl('import', *arguments, status=1), '')
            self.assertIn('/nonexistent: No such file or directory', self.error_output)
        self.assertFalse(self.pins.exists())

    def test_what_must_not_be_pinned_is_left_out(self):
        nic = self.add_card('0000:09:00.0', parent=None, group=11, driver='e1000e', serial=None, device=0x1533)
        self.host.add_interface(f'{nic.path}/net/eth0', uppers=['/sys/devices/virtual/net/bond0'])
        claim = self.client().acquire(self.gpu)
        pins, skipped = self.found('--write', self.file('a.conf', 'options vfio-pci ids=8086:1533,10de:1b80\n'),
                                   self.file('pci-0000:00:1c.0', VFIO), self.file('pci-0000:0f:00.0', VFIO),
                                   self.file('vmbus-12', 'uio'), self.file('pci-0000:06:00.0', '../x'))
        self.assertEqual(pins, [])
        why = {what: why for _, what, why in skipped}
        self.assertIn('eth0', why['pci:0000:09:00.0'])
        self.assertIn('is claimed', why['pci:0000:08:00.0'])
        self.assertIn('is a bridge', why['pci:0000:00:1c.0'])
        self.assertEqual(why['pci-0000:0f:00.0'], 'There is no such device.')
        self.assertEqual(why['vmbus-12'], 'Pins are for PCI devices.')
        self.assertEqual(why['pci-0000:06:00.0'], 'The file does not have the name of a driver.')
        self.assertFalse(self.pins.exists())
        claim.close()
        self.wait_gone(claim)

    def test_this_host(self):
        """Its command line is that of the pretended host."""
        self.kernel.put('/proc/cmdline', 'quiet vfio-pci.ids=10de:1b80\n')
        pins, _ = self.found()
        self.assertEqual(pins, [('pci:0000:08:00.0', VFIO, 'cmdline:1')])
        self.daemon.stop()
        self.vfioctl('import', status=3)


if __name__ == '__main__':
    harness.main()

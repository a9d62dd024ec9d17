#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a claim is given beside files: nodes that its user alone can open, or nothing."""

import errno
import json
import os
import pathlib
import signal
import socket
import struct

import harness
from harness import VfiodTestCase, identity, needs_root, wait
from host import VFIO

ALICE, BOB, CAROL = 1, 2, 3  # accounts that every host has
IOMMU, CONTAINER = '/dev/iommu', '/dev/vfio/vfio'
ACL = 'system.posix_acl_access'
ENTRY = struct.Struct('<HHI')
NO_ID = 0xFFFFFFFF
OWNER, USER, GROUP, MASK, OTHER = 1, 2, 4, 16, 32


def acl(*entries):
    return struct.pack('<I', 2) + b''.join(ENTRY.pack(*e) for e in entries)


def acl_of_user(uid, permissions=6):
    return acl((OWNER, 6, NO_ID), (USER, permissions, uid), (GROUP, 0, NO_ID), (MASK, permissions, NO_ID),
               (OTHER, 0, NO_ID))


class GrantTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.card = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()
        self.set_policy([self.everybody(grant=['fd', 'node', 'none'])])
        self.nodes_before = self.permissions()

    def everybody(self, **more):
        return {'name': 'all', 'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional', **more}

    def client_of(self, uid):
        with identity(uid):
            return self.client()

    def can_open(self, uid, node):
        with identity(uid):
            return os.access(self.host.root + node, os.R_OK | os.W_OK, effective_ids=True)

    def who_can_open(self, node):
        return [uid for uid in (ALICE, BOB, CAROL) if self.can_open(uid, node)]

    def open_as(self, uid, node):
        with identity(uid):
            return self.host.hold_node(node)

    def permissions(self, node=None):
        """Of one node, or of those that are there without a claim."""
        if not node:
            nodes = (IOMMU, CONTAINER, '/dev/vfio/9', self.host.cdev(self.card))
            return {name: self.permissions(name) for name in nodes}
        path = self.host.root + node
        st = os.stat(path)
        return st.st_mode, st.st_uid, st.st_gid, os.getxattr(path, ACL) if ACL in os.listxattr(path) else None

    def set_acl(self, node, value):
        os.setxattr(self.host.root + node, ACL, value)

    def restart(self):
        self.daemon.kill()
        self.start(keep_fds=True)
        self.manager.forget()

    def assert_all_as_before(self):
        self.assert_untouched(self.before)
        self.assertEqual(self.permissions(), self.nodes_before)


class RuleTest(GrantTestCase):
    def test_the_rule_decides(self):
        self.set_policy([self.everybody()])
        self.start()
        c = self.client()
        for grant in ('node', 'none'):
            for call in c.plan, c.acquire:
                with self.refused('AccessDenied', f'does not allow the grant {grant}', 'all (', 'Request the grant fd.',
                                  f'To loosen the policy, the operator can add "{grant}" to "grant"'):
                    call(self.nic, grant=grant)
        c.acquire(self.card, grant='fd').close()
        with self.refused('InvalidArgument', 'not a grant'):
            c.acquire(self.nic, grant='\x1bnodes')
        self.assert_all_as_before()

    def test_the_plan_tells_what_is_exposed(self):
        self.start()
        c = self.client()
        plan = c.plan(self.card, grant='node')
        self.assertEqual(plan['grant'], 'node')
        self.assertEqual(plan['exposes'], f'/dev/iommu and {self.host.cdev(self.card)} become usable by uid {os.getuid()}, '
                         'for every process of that uid and for as long as the claim lives')
        plan = c.plan(self.nic, self.card, grant='node')
        self.assertIn('the node of pci:0000:06:00.0 below /dev/vfio/devices and', plan['exposes'])
        self.assertIn('/dev/vfio/vfio, /dev/vfio/8 and /dev/vfio/9 become',
                      c.plan(self.nic, self.card, grant='node', backend='group')['exposes'])
        self.assertIn('nothing is handed out', c.plan(self.nic, grant='none')['exposes'])

    def test_every_rule_of_the_claim_must_allow_it(self):
        self.set_policy([self.everybody(name='nic', what={'device': self.nic.address}, grant='node'),
                         self.everybody(name='rest')])
        self.start()
        with self.refused('AccessDenied', 'does not allow the grant node'):
            self.client().acquire(self.nic, self.card, grant='node')
        self.assert_all_as_before()


@needs_root
class NodeTest(GrantTestCase):
    def nodes_of(self, device, backend):
        if backend == 'group':
            return [CONTAINER, f'/dev/vfio/{device.group}']
        return [IOMMU, self.host.cdev(device)]

    def test_only_this_user_and_only_while_it_is_held(self):
        for backend in ('iommufd', 'group'):
            for device in self.nic, self.card:
                with self.subTest(backend=backend, device=device.address):
                    self.check_one(backend, device)

    def check_one(self, backend, device):
        self.start()
        claim = self.client_of(ALICE).acquire(device, grant='node', backend=backend)
        nodes = self.nodes_of(device, backend)
        self.assertEqual((claim.result['grant'], list(claim.result['nodes'])), ('node', nodes))
        self.assertEqual(list(claim.fds), ['lifeline'])
        shown = claim.properties()
        self.assertEqual((shown['Grant'], list(shown['Nodes'])), ('node', nodes))
        for node in nodes:
            self.assertEqual(self.who_can_open(node), [ALICE, BOB, CAROL] if node == CONTAINER else [ALICE], node)
        self.assertFalse(self.kernel.nodes.is_open(nodes[1]), 'nobody keeps it open')
        file = self.open_as(ALICE, nodes[1])
        if backend == 'iommufd':
            self.kernel.set_enable(device, 1)
        claim.close()
        wait(lambda: claim.state == 'draining', 'it waits for the close')
        self.assertEqual(list(claim.properties()['Nodes']), [])
        self.assertEqual(self.who_can_open(nodes[1]), [])
        self.assertEqual(self.permissions(), self.nodes_before)
        self.assertIn(device.driver, VFIO)
        os.close(file)
        self.kernel.set_enable(device, 0)
        self.wait_gone(claim)
        self.assert_all_as_before()
        self.daemon.stop()

    def test_opened_and_closed_again_and_again(self):
        """How many files are open cannot be counted, so the kernel is asked in the end."""
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        for _ in range(50):
            os.close(self.open_as(ALICE, node))
        files = [self.open_as(ALICE, node) for _ in range(3)]
        os.close(files.pop())
        claim.close()
        wait(lambda: claim.state == 'draining', 'it waits for the close')
        for file in files:
            self.assertEqual(claim.state, 'draining')
            os.close(file)
        self.wait_gone(claim)
        self.assert_all_as_before()

    def end_and_open(self, claim, backend):
        """The file that was opened is on its way through a socket then."""
        claim.close()
        file = self.open_as(ALICE, self.nodes_of(self.card, backend)[1])
        ends = socket.socketpair()
        socket.send_fds(ends[0], [b'x'], [file])
        os.close(file)
        return ends

    def check_hidden(self, claim, barrier, ends):
        resets = self.card.resets
        barrier.close()
        self.wait_gone(barrier)
        self.assertEqual((claim.state, self.card.resets), ('draining', resets))
        for end in ends:
            end.close()
        self.wait_gone(claim)

    def test_opened_when_it_ends(self):
        """The daemon reads the end of the claim first."""
        self.start()
        c = self.client_of(ALICE)
        for backend in 'iommufd', 'group':
            for _ in range(5):
                claim, barrier = c.acquire(self.card, grant='node', backend=backend), c.acquire(self.nic)
                os.kill(self.daemon.pid, signal.SIGSTOP)
                ends = self.end_and_open(claim, backend)
                os.kill(self.daemon.pid, signal.SIGCONT)
                self.check_hidden(claim, barrier, ends)
        self.assert_all_as_before()

    def test_opened_and_ended_while_no_daemon_runs(self):
        for backend in 'iommufd', 'group':
            self.start()
            c = self.client_of(ALICE)
            barrier, claim = c.acquire(self.nic), c.acquire(self.card, grant='node', backend=backend)
            self.manager.hear_all()
            self.daemon.kill()
            ends = self.end_and_open(claim, backend)
            self.start(keep_fds=True)
            self.check_hidden(claim, barrier, ends)
            self.daemon.stop()
        self.assert_all_as_before()

    def test_released_by_the_operator(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.nic, grant='node')
        node = self.host.cdev(self.nic)
        self.client().release(claim)
        self.wait_gone(claim)
        self.assertNotIn(node, self.host.nodes())
        self.assert_all_as_before()

    def test_unplugged(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.nic, grant='node')
        self.assertEqual(self.who_can_open(IOMMU), [ALICE])
        self.host.remove_device(self.nic)
        self.wait_gone(claim)
        self.assertEqual(self.permissions(), self.nodes_before)

    def test_a_record_that_is_damaged(self):
        """Nobody knows any more for whom the node was opened."""
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        self.assertEqual(self.who_can_open(node), [ALICE])
        self.daemon.kill()
        self.unpack_slots()
        path = pathlib.Path(f'{self.directory}/state/claims/{claim.id}.json')
        path.write_text(path.read_text().replace('"version":', '"vers":'))
        self.start(keep_fds=True)
        self.assertEqual(self.client().device(self.card)['State'], 'quarantined')
        self.assertEqual(self.permissions(node), self.nodes_before[node])
        claim.close()

    def test_claims_of_two_users_share_a_node(self):
        self.start()
        for first, second in ((0, 1), (1, 0)):
            claims = [self.client_of(ALICE).acquire(self.nic, grant='node'),
                      self.client_of(BOB).acquire(self.card, grant='node')]
            self.assertEqual(self.who_can_open(IOMMU), [ALICE, BOB])
            self.assertEqual(self.who_can_open(self.host.cdev(self.nic)), [ALICE])
            self.assertEqual(self.who_can_open(self.host.cdev(self.card)), [BOB])
            claims[first].close()
            self.wait_gone(claims[first])
            self.assertEqual(self.who_can_open(IOMMU), [(ALICE, BOB)[second]])
            claims[second].close()
            self.wait_gone(claims[second])
            self.assert_all_as_before()

    def test_two_claims_of_one_user(self):
        self.start()
        alice = self.client_of(ALICE)
        first, second = alice.acquire(self.nic, grant='node'), alice.acquire(self.card, grant='node')
        first.close()
        self.wait_gone(first)
        self.assertEqual(self.who_can_open(IOMMU), [ALICE])
        second.close()
        self.wait_gone(second)
        self.assert_all_as_before()

    def test_the_admin_has_a_list_of_his_own(self):
        """It comes back to the byte, also where its mask took something from an entry."""
        lists = (acl_of_user(CAROL),
                 acl((OWNER, 6, NO_ID), (USER, 6, CAROL), (GROUP, 6, NO_ID), (MASK, 4, NO_ID), (OTHER, 0, NO_ID)),
                 acl((OWNER, 6, NO_ID), (USER, 4, ALICE), (GROUP, 0, NO_ID), (MASK, 4, NO_ID), (OTHER, 0, NO_ID)))
        self.start()
        for value in lists:
            with self.subTest(value):
                self.set_acl(IOMMU, value)
                before = self.who_can_open(IOMMU), self.permissions(IOMMU)
                self.assertNotIn(ALICE, before[0])
                claim = self.client_of(ALICE).acquire(self.card, grant='node')
                self.assertEqual(self.who_can_open(IOMMU), sorted({ALICE, *before[0]}))
                claim.close()
                self.wait_gone(claim)
                self.assertEqual((self.who_can_open(IOMMU), self.permissions(IOMMU)), before)

    def test_a_user_whom_the_admin_lets_in_stays(self):
        self.set_acl(IOMMU, acl_of_user(ALICE))
        before = self.permissions(IOMMU)
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        self.assertEqual(self.permissions(IOMMU), before)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.permissions(IOMMU), before)

    def test_a_list_that_is_full(self):
        self.set_acl(IOMMU, acl((OWNER, 6, NO_ID), *((USER, 6, uid) for uid in range(100, 128)), (GROUP, 0, NO_ID),
                                (MASK, 6, NO_ID), (OTHER, 0, NO_ID)))
        before = self.permissions(IOMMU)
        self.start()
        with self.refused('OpenFailed', 'cannot let uid 1 open /dev/iommu', 'is full', 'Request the grant fd'):
            self.client_of(ALICE).acquire(self.nic, grant='node')
        self.assert_untouched(self.before)
        self.assertEqual(self.permissions(IOMMU), before)

    def test_a_list_that_cannot_be_written(self):
        for node in (IOMMU, '/dev/vfio/devices/vfio1'):
            with self.subTest(node):
                self.start()
                self.kernel.fail('setxattr', error=errno.EPERM, data=node, times=1)
                with self.refused('OpenFailed', f'cannot let uid 1 open {node}', 'Request the grant fd'):
                    self.client_of(ALICE).acquire(self.nic, grant='node')
                self.assert_all_as_before()
                self.daemon.stop()

    def test_not_closed_to_the_user_means_not_free(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        fault = self.kernel.fail('setxattr', error=errno.EIO, data=node)
        claim.close()
        wait(lambda: fault.hits > 2, 'it is tried again')
        self.assertEqual(claim.state, 'draining')
        with self.refused('DeviceClaimed'):
            self.client_of(BOB).acquire(self.card)
        self.assertEqual(self.who_can_open(IOMMU), [])
        self.kernel.heal()
        self.wait_gone(claim)
        self.assert_all_as_before()
        self.wait_logged(f'cannot take {node} from uid 1 again')

    # --- container engines ----------------------------------------------------------------------------------------

    def cdi(self):
        """Name -> what is in it, of the files for container engines."""
        directory = pathlib.Path(self.directory, 'cdi')
        return {f.name: json.loads(f.read_text()) for f in sorted(directory.iterdir())}

    def test_container_engines(self):
        os.mkdir(self.directory + '/cdi', 0o755)
        pathlib.Path(self.directory, 'cdi', 'vfiod-0123456789abcdef.json').write_text('{}')  # left by a crash
        pathlib.Path(self.directory, 'cdi', 'vfiod-0123456789abcdef').write_text('{}')
        others = ('vendor.json', 'vfiod-mine.json', 'vfiod-0123456789abcdef.yaml')
        for name in others:
            pathlib.Path(self.directory, 'cdi', name).write_text('{}')
        self.start()
        self.assertEqual(set(self.cdi()), set(others))
        for name in others:
            os.unlink(f'{self.directory}/cdi/{name}')
        claim = self.client_of(ALICE).acquire(self.nic, grant='node')
        (name, text), = self.cdi().items()
        self.assertEqual(name, f'vfiod-{claim.id}.json')
        self.assertEqual(os.stat(f'{self.directory}/cdi/{name}').st_mode, 0o100644)
        self.assertEqual(text['kind'], 'vfiod.org/claim')
        self.assertEqual(text['cdiVersion'], '0.5.0' if claim.id[0].isdigit() else '0.3.0')
        device, = text['devices']
        self.assertEqual(device['name'], claim.id)
        nodes = {n['path']: (n['type'], n['major'], n['minor'], n['permissions'])
                 for n in device['containerEdits']['deviceNodes']}
        self.assertEqual(nodes, {IOMMU: ('c', 10, 126, 'rw'), self.host.cdev(self.nic): ('c', 242, 1, 'rw')})
        self.assertEqual(device['containerEdits']['env'], [f'VFIOD_CLAIM={claim.id}', 'VFIOD_BACKEND=iommufd',
                                                           f'VFIOD_DEVICES={self.nic.name}'])
        self.add(claim, self.card)
        self.assertIn(self.host.cdev(self.card), json.dumps(self.cdi()))
        self.remove(claim, self.card)
        self.assertNotIn(self.host.cdev(self.card), json.dumps(self.cdi()))
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.restart()
        self.assertEqual(self.cdi(), {name: text})
        file = self.open_as(ALICE, self.host.cdev(self.nic))
        claim.client = self.client()
        claim.close()
        wait(lambda: claim.state == 'draining', 'it waits for the close')
        self.assertEqual(self.cdi(), {})
        os.close(file)
        self.wait_gone(claim)
        claim = self.client().acquire(self.nic)
        self.assertEqual(self.cdi(), {}, 'files need none')
        claim.close()
        self.wait_gone(claim)

    def test_killed_with_a_file_for_container_engines(self):
        os.mkdir(self.directory + '/cdi', 0o755)
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.daemon.kill()
        claim.close()
        self.assertEqual(len(self.cdi()), 1)
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual(self.cdi(), {})
        wait(lambda: self.records() == [], 'it is over')
        self.assert_all_as_before()

    def test_a_directory_that_cannot_be_written(self):
        os.mkdir(self.directory + '/cdi', 0o755)
        self.start()
        os.rmdir(self.directory + '/cdi')
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        self.assertEqual(self.who_can_open(self.host.cdev(self.card)), [ALICE])
        self.wait_logged(f'Claim {claim.id}: cannot describe its nodes to container engines')
        claim.close()
        self.wait_gone(claim)

    # --- devices come and go --------------------------------------------------------------------------------------

    def add(self, claim, *devices):
        result, fds = claim.client.manager('AddDevices', 'sasa{sv}', claim.id, [d.name for d in devices], {})
        self.assertEqual(list(fds), [])
        return [str(node) for node in result['nodes']]

    def remove(self, claim, *devices):
        claim.client.manager('ReleaseDevices', 'sasa{sv}', claim.id, [d.name for d in devices], {})

    def test_devices_that_join_and_leave(self):
        for backend in ('iommufd', 'group'):
            with self.subTest(backend=backend):
                self.start()
                alice = self.client_of(ALICE)
                claim = alice.acquire(self.nic, grant='node', backend=backend)
                shared, first = self.nodes_of(self.nic, backend)
                second = self.nodes_of(self.card, backend)[1]
                self.assertEqual(self.add(claim, self.card), [second])
                self.assertEqual([self.who_can_open(node) for node in (first, second)], [[ALICE]] * 2)
                file = self.open_as(ALICE, second)
                self.remove(claim, self.card)
                self.assertEqual([self.who_can_open(node) for node in (first, second)], [[ALICE], []])
                self.assertIn(ALICE, self.who_can_open(shared))
                os.close(file)
                os.chmod(self.host.root + first, 0o600)  # is watched as before
                wait(lambda: self.who_can_open(first) == [ALICE], 'alice is let in again')
                claim.close()
                self.wait_gone(claim)
                wait(lambda: self.records() == [], 'the part is over, too')
                self.assert_all_as_before()
                self.daemon.stop()

    def test_a_device_that_has_joined_is_watched_and_taken_back(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.nic, grant='node')
        self.add(claim, self.card)
        node = self.host.cdev(self.card)
        os.chmod(self.host.root + node, 0o600)
        wait(lambda: self.who_can_open(node) == [ALICE], 'alice is let in again')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.restart()
        self.assertEqual(self.who_can_open(node), [ALICE])
        claim.client = self.client()
        claim.close()
        self.wait_gone(claim)
        self.assert_all_as_before()

    def test_killed_while_a_device_joins(self):
        node = self.host.cdev(self.card)
        self.start()
        claim = self.client_of(ALICE).acquire(self.nic, grant='node')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        gate = self.kernel.hold('setxattr', data=node)
        claim.client.connection.call_async(harness.NAME, harness.ROOT_PATH, harness.NAME + '.Manager', 'AddDevices',
                                           'sasa{sv}', (claim.id, [self.card.name], {}), lambda *_: None,
                                           lambda *_: None, 20)
        wait(lambda: gate.entered, 'it is at that step')
        self.daemon.kill()
        gate.let_go()
        self.start(keep_fds=True)
        self.manager.forget()
        wait(lambda: self.records() == [claim.id + '.json'], 'the part is over')
        self.assertEqual(self.who_can_open(node), [])
        self.assertEqual(self.who_can_open(self.host.cdev(self.nic)), [ALICE])
        claim.client = self.client()
        claim.close()
        self.wait_gone(claim)
        self.assert_all_as_before()

    # --- others change the node -----------------------------------------------------------------------------------

    def test_udev_sets_the_mode(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        os.chmod(self.host.root + node, 0o600)
        wait(lambda: self.who_can_open(node) == [ALICE], 'alice is let in again')
        self.wait_logged('another program has changed the permissions of ' + node)
        claim.close()
        self.wait_gone(claim)
        self.assert_all_as_before()

    def test_udev_writes_a_list(self):
        """As the rules for the users at a seat do (uaccess)."""
        self.start()
        claims = [self.client_of(ALICE).acquire(self.card, grant='node'),
                  self.client_of(BOB).acquire(self.nic, grant='node')]
        self.set_acl(IOMMU, acl_of_user(CAROL))
        wait(lambda: self.who_can_open(IOMMU) == [ALICE, BOB, CAROL], 'both are let in again')
        for claim in claims:
            claim.close()
            self.wait_gone(claim)
        self.assertEqual(self.permissions(IOMMU)[3], acl_of_user(CAROL))

    def test_others_are_let_in(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        with_both = acl((OWNER, 6, NO_ID), (USER, 6, ALICE), (USER, 6, CAROL), (GROUP, 0, NO_ID), (MASK, 6, NO_ID),
                        (OTHER, 0, NO_ID))
        self.set_acl(node, with_both)
        self.client().plan(self.nic)  # what has happened before is seen before a request
        self.wait_logged('Another program has changed the permissions of ' + node)
        self.assertEqual(self.permissions(node)[3], with_both)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.permissions(node)[3], acl_of_user(CAROL))

    def test_another_program_insists(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        for _ in range(8):
            os.chmod(self.host.root + node, 0o600)
            wait(lambda: self.who_can_open(node) == [ALICE], 'alice is let in again')
        os.chmod(self.host.root + node, 0o600)
        self.client().plan(self.nic)  # what has happened before is seen before a request
        self.wait_logged('keeps changing the permissions of ' + node)
        self.assertEqual(self.who_can_open(node), [])
        claim.close()
        self.wait_gone(claim)
        self.assert_all_as_before()

    def test_a_node_that_is_made_anew(self):
        """The entry belongs to the node that was granted, not to whatever is at its path."""
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        node = self.host.cdev(self.card)
        self.kernel.nodes.add(node, 242, 77, 0o600)
        self.set_acl(node, acl_of_user(ALICE))
        before = self.permissions(node)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.permissions(node), before)
        self.assertEqual(self.permissions(IOMMU), self.nodes_before[IOMMU])

    def test_taints(self):
        self.start()
        c = self.client()

        def open_nodes():
            return [str(t['what']) for t in c.get('/org/vfiod1', 'Manager', 'Taints') if t['kind'] == 'open-node']

        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        other = self.client_of(ALICE).acquire(self.nic, untainted=True, grant='node')
        other.close()
        self.wait_gone(other)
        self.assertEqual(open_nodes(), [])
        self.set_acl('/dev/vfio/9', acl_of_user(CAROL))
        with self.refused('HostTainted', '/dev/vfio/*: mode 0660'):
            self.client_of(BOB).acquire(self.nic, untainted=True)
        self.restart()
        self.assertFalse(self.log_lines('/dev/vfio/devices/*: mode'))
        claim.close()

    # --- crashes --------------------------------------------------------------------------------------------------

    def test_killed_at_each_step(self):
        """On the way in nobody has the lifeline yet, and on the way out nobody has it any more."""
        cdev = self.host.cdev(self.card)
        for node in (IOMMU, cdev):
            for released in (False, True):
                with self.subTest(node=node, released=released):
                    self.start()
                    alice = self.client_of(ALICE)
                    if released:
                        claim = alice.acquire(self.card, grant='node')
                        wait(lambda: self.manager.fds, 'the lifeline is kept')
                        gate = self.kernel.hold('setxattr', data=node)
                        claim.close()
                    else:
                        gate = self.kernel.hold('setxattr', data=node)
                        alice.acquire_later(self.card, grant='node')
                    wait(lambda: gate.entered, 'it is at that step')
                    self.daemon.kill()
                    gate.let_go()
                    self.manager.hear_all()
                    self.start(keep_fds=True)
                    wait(lambda: self.records() == [], 'it is over')
                    self.assertEqual(self.permissions(), self.nodes_before)
                    self.manager.forget()
                    self.daemon.stop()

    def test_held_over_a_restart(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.nic, grant='node')
        other = self.client_of(BOB).acquire(self.card, grant='node')
        wait(lambda: len(self.manager.fds) == 2, 'the lifelines are kept')
        self.restart()
        self.assertEqual(self.who_can_open(IOMMU), [ALICE, BOB])
        self.assertFalse(self.log_lines('another program'))
        for c, user in ((claim, ALICE), (other, BOB)):
            node = self.host.cdev(self.nic if c is claim else self.card)
            self.assertEqual(self.who_can_open(node), [user])
            c.client = self.client()
            file = self.open_as(user, node)
            c.close()
            wait(lambda c=c: c.state == 'draining', 'it waits for the close')
            self.assertEqual(self.who_can_open(node), [])
            os.close(file)
            self.wait_gone(c)
        self.assert_all_as_before()

    def test_changed_while_no_daemon_runs(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.daemon.kill()
        self.set_acl(IOMMU, acl_of_user(CAROL))
        self.start(keep_fds=True)
        self.manager.forget()
        self.assertEqual(self.who_can_open(IOMMU), [ALICE, CAROL])
        claim.client = self.client()
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.permissions(IOMMU)[3], acl_of_user(CAROL))

    def test_opened_and_closed_while_no_daemon_runs(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.daemon.kill()
        os.close(self.open_as(ALICE, self.host.cdev(self.card)))
        file = self.open_as(ALICE, self.host.cdev(self.card))
        self.start(keep_fds=True)
        self.manager.forget()
        claim.client = self.client()
        claim.close()
        wait(lambda: claim.state == 'draining', 'it waits for the close')
        os.close(file)
        self.wait_gone(claim)
        self.assert_all_as_before()

    def test_ended_while_no_daemon_ran(self):
        self.start()
        claim = self.client_of(ALICE).acquire(self.card, grant='node')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.daemon.kill()
        claim.close()
        self.start(keep_fds=True)
        self.manager.forget()
        wait(lambda: self.records() == [], 'it is over')
        self.assert_all_as_before()


class NoneTest(GrantTestCase):
    def test_a_reservation(self):
        for backend in ('iommufd', 'group'):
            with self.subTest(backend=backend):
                self.start()
                c = self.client()
                claim = c.acquire(self.nic, grant='none', backend=backend)
                self.assertEqual((list(claim.fds), claim.result['grant']), (['lifeline'], 'none'))
                self.assertNotIn('nodes', claim.result)
                self.assertEqual(self.host.binding()[self.nic.address], (VFIO, VFIO + '\n'))
                self.assertEqual(self.permissions(), self.nodes_before)
                node = self.host.cdev(self.nic) if backend == 'iommufd' else '/dev/vfio/8'
                self.assertFalse(self.kernel.nodes.is_open(node))
                with self.refused('DeviceClaimed'):
                    self.client().acquire(self.nic)
                file = self.host.hold_node(node)  # a program of root
                claim.close()
                wait(lambda: claim.state == 'draining', 'it waits for the close')
                os.close(file)
                self.wait_gone(claim)
                self.assert_all_as_before()
                self.daemon.stop()

    def test_in_use_already(self):
        self.start()
        file = self.host.hold_node('/dev/vfio/9')
        with self.refused('GroupInUse'):
            self.client().acquire(self.card, grant='none')
        os.close(file)

    def test_opened_through_the_other_interface(self):
        """A program of root takes the one that it likes; the kernel's count of users tells."""
        self.start()
        claim = self.client().acquire(self.card, grant='none', backend='iommufd')
        file = self.host.hold_node('/dev/vfio/9')
        self.kernel.set_enable(self.card, 1)
        claim.close()
        wait(lambda: claim.state == 'draining', 'it waits for the close')
        self.assertEqual(self.card.resets, 0)
        os.close(file)
        self.kernel.set_enable(self.card, 0)
        self.wait_gone(claim)
        self.assert_all_as_before()

    def test_over_a_restart(self):
        self.start()
        claim = self.client().acquire(self.nic, grant='none', cookie='domain')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.restart()
        claim.client = self.client()
        self.assertEqual((claim.state, claim.properties()['Grant']), ('held', 'none'))
        claim.close()
        self.wait_gone(claim)
        self.assert_all_as_before()


class NoiommuTest(VfiodTestCase):
    host_options = {'noiommu': True}

    def test_only_as_a_file(self):
        device = self.host.add_device('0000:06:00.0', driver='e1000e')
        self.set_policy([{**self.rule(device=device.address), 'grant': ['fd', 'node', 'none'],
                          'noiommu': {'reason': 'r', 'waive-cap-sys-rawio': True}}], host={'noiommu': 'on'})
        self.start()
        for grant in ('node', 'none'):
            with self.refused('BackendUnavailable', 'no other grant than fd', 'Request the grant fd.'):
                self.client().acquire(device, backend='noiommu', grant=grant)


if __name__ == '__main__':
    harness.main()

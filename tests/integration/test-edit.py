#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfioctl edit: nothing is installed before it was checked, and no work is lost. The editor is a script."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import stat
import subprocess
import tempfile
import termios
import unittest

import harness
from harness import SOURCE, VfiodTestCase

HOST = SOURCE / 'tests/rehearsal/host.json'
GOOD = '{ "rules": [ { "name": "one", "effect": "deny", "who": {}, "what": {} } ] }\n'
BETTER = GOOD.replace('"one"', '"two"')
BROKEN = GOOD.replace('"deny"', '"dany"')
ALLOW = '{{ "rules": [ {{ "name": "{}", "effect": "allow", "who": {{}}, "what": {{ "device": "*" }} }} ] }}\n'


class EditorTest(unittest.TestCase):
    """A directory of policy files that no daemon reads."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix='vfiod-test-edit.')
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        self.policy, self.copies = f'{self.directory}/policy.d', f'{self.directory}/copies'
        for path in (self.policy, self.copies):
            os.mkdir(path)

    def path(self, name='one.json'):
        return f'{self.policy}/{name}'

    def put(self, text, name='one.json'):
        with open(self.path(name), 'w') as f:
            f.write(text)

    def text(self, name='one.json'):
        with open(self.path(name)) as f:
            return f.read()

    def script(self, text):
        """An editor, as a shell script whose $1 is the copy."""
        path = f'{self.directory}/editor'
        with open(path, 'w') as f:
            f.write(f'#!/bin/sh\nset -e\n{text}\n')
        os.chmod(path, 0o755)
        return path

    def writes(self, text):
        return self.script(f"cat >\"$1\" <<'END'\n{text}END")

    def environment(self, editor):
        environment = {k: v for k, v in os.environ.items()
                       if k not in ('LD_PRELOAD', 'UMOCKDEV_DIR', 'SUDO_EDITOR', 'VISUAL', 'EDITOR')}
        return {**environment, 'LC_ALL': 'C.UTF-8', 'TMPDIR': self.copies, 'EDITOR': editor}

    def command(self, *arguments):
        return [os.environ['VFIOCTL'], 'edit', '--policy', self.policy, *arguments]

    def edit(self, editor, *arguments, **more):
        """(exit status, standard output, standard error)"""
        done = subprocess.run(self.command(*arguments), env={**self.environment(editor), **more}, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def kept(self):
        """The text of the copies that are left."""
        found = []
        for directory in os.listdir(self.copies):
            self.assertEqual(stat.S_IMODE(os.stat(f'{self.copies}/{directory}').st_mode), 0o700)
            for name in os.listdir(f'{self.copies}/{directory}'):
                with open(f'{self.copies}/{directory}/{name}') as f:
                    found.append(f.read())
        return found

    def fails(self, words, editor, *arguments, status=1, kept=(), **more):
        found, out, err = self.edit(editor, *arguments, **more)
        self.assertEqual((found, out), (status, ''), err)
        self.assertIn(words, err)
        self.assertEqual(self.kept(), list(kept))
        self.assertEqual('is kept: ' + self.copies in err, bool(kept), err)
        return err


class EditTest(EditorTest):
    def test_change(self):
        self.put(GOOD)
        os.chmod(self.path(), 0o600)
        status, out, err = self.edit(self.writes(BETTER), 'one')
        self.assertEqual((status, err), (0, ''), out)
        self.assertEqual(out, f'Installed {self.path()}\nRules added: two\nRules removed: one\n')
        self.assertEqual((self.text(), self.kept()), (BETTER, []))
        self.assertEqual(stat.S_IMODE(os.stat(self.path()).st_mode), 0o600)
        self.assertEqual(os.listdir(self.policy), ['one.json'])

    def test_mode_whatever_the_umask(self):
        self.put(GOOD)
        mask = os.umask(0o077)
        try:
            self.assertEqual(self.edit(self.writes(BETTER))[0], 0)
        finally:
            os.umask(mask)
        self.assertEqual(stat.S_IMODE(os.stat(self.path()).st_mode), 0o644)

    def test_json(self):
        self.put(GOOD)
        changed = GOOD.replace('"deny"', '"allow"')
        status, out, err = self.edit(self.writes(changed), '--json')
        self.assertEqual((status, err), (0, ''))
        self.assertEqual(json.loads(out), {'file': self.path(), 'installed': True, 'rulesAdded': [], 'rulesRemoved': [],
                                           'rulesChanged': ['one'], 'orderChanged': False, 'settingsChanged': False})
        status, out, err = self.edit('true', '--json')
        self.assertEqual((status, json.loads(out)), (0, {'file': self.path(), 'installed': False}), err)
        status, out, err = self.edit(self.writes(BROKEN), '--json')
        self.assertEqual((status, out, json.loads(err)['error']), (18, '', 'PolicyBroken'))

    def test_order_and_settings(self):
        rules = [{'name': name, 'effect': 'deny', 'who': {'user': number}, 'what': {}} for number, name in enumerate('ab')]
        self.put(json.dumps({'rules': rules}))
        changed = json.dumps({'tags': {'gpu': [{'slot': 'pci:0000:01:00.0', 'id': '10de:2204'}]}, 'rules': rules[::-1]})
        status, out, err = self.edit(self.writes(changed + '\n'))
        self.assertEqual((status, err), (0, ''), out)
        self.assertEqual(out.splitlines()[1:], ['Rules are tried in another order', 'Tags or settings of the host changed'])

    def test_new_file(self):
        status, out, err = self.edit(self.script(f"grep -q vfiod-policy \"$1\"; echo '{GOOD.strip()}' >\"$1\""), '50-new')
        self.assertEqual((status, err), (0, ''), out)
        self.assertEqual(self.text('50-new.json'), GOOD)
        self.assertEqual(self.edit('true', '60-other')[:2], (0, f'{self.policy}/60-other.json: unchanged\n'))
        self.assertEqual(os.listdir(self.policy), ['50-new.json'])

    def test_template_is_a_policy(self):
        """Whoever adds nothing but a comment has a file that can be loaded."""
        status, out, err = self.edit(self.script('echo "// more" >>"$1"'), 'new')
        self.assertEqual((status, err), (0, ''), out)

    def test_errors(self):
        self.put(GOOD)
        err = self.fails('the policy has 1 error.', self.writes(BROKEN), status=18, kept=[BROKEN])
        self.assertRegex(err, rf'(?m)^{self.path()}:1:\d+: error: .*dany')
        self.assertEqual(self.text(), GOOD)

    def test_errors_elsewhere(self):
        """What the new file breaks of another one counts; what was broken before does not."""
        tagged = '{ "rules": [ { "name": "t", "effect": "deny", "who": {}, "what": { "tag": "gpu" } } ] }\n'
        tag = '{ "tags": { "gpu": [ { "slot": "pci:0000:01:00.0", "id": "10de:2204" } ] } }\n'
        self.put(tag)
        self.put(tagged, 'two.json')
        self.fails(self.path('two.json'), self.writes(GOOD), 'one', status=18, kept=[GOOD])
        self.assertEqual(self.text(), tag)
        self.put(BROKEN)
        self.put(BROKEN.replace('one', 'two'), 'two.json')
        status, out, err = self.edit(self.writes(BETTER), 'two')
        self.assertEqual((status, out), (0, f'Installed {self.path("two.json")}\n'))
        self.assertIn(self.path('one.json'), err)
        self.assertEqual(self.text('two.json'), BETTER)

    def test_nothing_to_install(self):
        self.put(GOOD)
        inode = os.stat(self.path()).st_ino
        self.assertEqual(self.edit('true')[:2], (0, f'{self.path()}: unchanged\n'))
        self.assertEqual(self.edit('touch')[:2], (0, f'{self.path()}: unchanged\n'))
        self.fails('is empty', self.script(': >"$1"'))
        self.fails('is empty', self.script('printf "\\n \\n" >"$1"'))
        self.fails('removed the copy', self.script('rm "$1"'))
        self.assertEqual((self.text(), os.stat(self.path()).st_ino), (GOOD, inode))

    def test_editors_that_fail(self):
        self.put(GOOD)
        self.fails('ended with status 3', self.script('exit 3'))
        self.fails('ended with status 3', self.script('echo >"$1"; exit 3'), kept=['\n'])
        self.fails('killed by signal 9', 'exec ' + self.script('echo >"$1"; kill -9 $$'), kept=['\n', '\n'])
        self.assertIn('cannot be run', self.edit('/nonexistent/editor')[2])
        self.assertEqual(self.edit('/nonexistent/editor')[0], 127)
        self.assertEqual(self.text(), GOOD)

    def test_which_editor(self):
        self.put(GOOD)
        log = f'{self.directory}/log'
        names = {'SUDO_EDITOR': 'sudo', 'VISUAL': 'visual'}
        values = {variable: f"sh -c 'echo {name} \"$@\" >{log}' x" for variable, name in names.items()}
        for variable, name in reversed(names.items()):
            self.assertEqual(self.edit('false', **{variable: values[variable]})[0], 0)
            with open(log) as f:
                self.assertRegex(f.read(), rf'^{name} {self.copies}/vfiod-edit\..*/one.json$')
        self.assertEqual(self.edit('true', SUDO_EDITOR=values['SUDO_EDITOR'], VISUAL='false')[0], 0)

    def test_editor_that_writes_another_file(self):
        """As most do: write beside it, and rename. What they leave behind goes."""
        self.put(GOOD)
        editor = self.script(f"""d=$(dirname "$1"); echo '{BETTER.strip()}' >"$d/.new"; : >"$1~"; mv "$d/.new" "$1" """)
        self.assertEqual(self.edit(editor)[0], 0)
        self.assertEqual((self.text(), os.listdir(self.copies)), (BETTER, []))

    def test_changed_meanwhile(self):
        self.put(GOOD)
        other = GOOD.replace('one', 'other')
        self.put(other, 'other')
        write = f"cat >\"$1\" <<'END'\n{BETTER}END\n"
        self.fails('changed by somebody else', self.script(write + f'cp {self.path("other")} {self.path()}'), kept=[BETTER])
        self.assertEqual(self.text(), other)
        self.fails('changed by somebody else', self.script(write + f'rm {self.path()}'), kept=[BETTER] * 2)
        self.fails('changed by somebody else', self.script(write + f'cp {self.path("other")} {self.path("new.json")}'),
                   'new', kept=[BETTER] * 3)
        self.fails('symbolic link', self.script(write + f'ln -s other {self.path("link.json")}'), 'link', kept=[BETTER] * 4)

    def test_in_the_way(self):
        self.put(GOOD, 'target')
        os.symlink('target', self.path('link.json'))
        os.symlink('/dev/null', self.path('masked.json'))
        os.symlink('nowhere', self.path('dangling.json'))
        os.mkdir(self.path('directory.json'))
        for name, word in {'link': 'link to target', 'masked': 'link to /dev/null', 'dangling': 'link to nowhere',
                           'directory': 'not a regular file'}.items():
            self.assertIn(word, self.fails(word, self.writes(BETTER), name))
        self.assertEqual(self.text('target'), GOOD)
        os.unlink(self.path('dangling.json'))
        os.rmdir(self.path('directory.json'))
        os.symlink('/etc/hosts', self.path('.#new.json'))  # the file that will be renamed
        with open('/etc/hosts') as f:
            hosts = f.read()
        self.fails('cannot install', self.writes(BETTER), 'new', kept=[BETTER])
        with open('/etc/hosts') as f:
            self.assertEqual(f.read(), hosts)

    def test_names(self):
        for name in ('', '.', '..', '../x', '/etc/passwd', 'a/b.json', '.hidden', 'x' * 250, 'a\nb'):
            with self.subTest(name=name):
                self.fails('expected the name of a file', 'true', name, status=2)
        self.fails('requires the name', 'true', status=2)
        self.put(GOOD, 'a.json')
        self.put(GOOD, 'b.json')
        self.fails('has 2 policy files', 'true', status=2)
        self.policy = '/nonexistent'
        self.fails('No such file', 'true', 'x')

    def test_too_large(self):
        self.put(GOOD)
        err = self.fails('too large', self.script('head -c 5000000 /dev/zero | tr "\\0" " " >"$1"; echo "{}" >>"$1"'),
                         status=18, kept=[' ' * 5000000 + '{}\n'])
        self.assertIn(self.path(), err)

    def test_two_editors(self):
        self.put(GOOD)
        fifo = f'{self.directory}/fifo'
        os.mkfifo(fifo)
        first = subprocess.Popen(self.command(), env=self.environment(f'cat <{fifo} >'), text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with open(fifo, 'w') as f:  # it is open when the editor runs
            self.assertIn('another vfioctl', self.edit('true')[2])
            self.assertIn('another vfioctl', self.edit('true', 'two')[2])
            f.write(BETTER)
        out, err = first.communicate(timeout=60)
        self.assertEqual((first.returncode, err), (0, ''), out)
        self.assertEqual(self.edit('true')[0], 0)

    def test_interrupt_is_for_the_editor(self):
        """Control-C at a terminal reaches both; the one that edits decides."""
        self.put(GOOD)
        editor = self.script(f"trap '' INT; kill -INT $PPID; cat >\"$1\" <<'END'\n{BETTER}END")
        self.assertEqual(self.edit(f'exec {editor}')[0], 0)
        self.assertEqual(self.text(), BETTER)

    def test_not_root(self):
        self.put(GOOD)
        os.chmod(self.directory, 0o755)
        if os.getuid() != 0:
            self.skipTest('only root can be other users')
        done = subprocess.run(self.command(), env=self.environment('true'), text=True, stderr=subprocess.PIPE,
                              user=harness.NOBODY, group=harness.NOBODY, extra_groups=[])
        self.assertEqual(done.returncode, 1)
        self.assertIn('Run this as root', done.stderr)


class TerminalTest(EditorTest):
    def answer(self, editor, *answers):
        """With a terminal: (exit status, what it shows)."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(self.command(), env=self.environment(editor), stdin=theirs, stdout=theirs, stderr=theirs,
                                   start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        shown = b''
        with contextlib.suppress(OSError), open(ours, 'r+b', buffering=0) as terminal:
            for answer in answers:
                asked = shown.count(b'quit? ')
                while shown.count(b'quit? ') == asked:
                    shown += terminal.read(4096) or b''
                terminal.write(answer + b'\n')
            while chunk := terminal.read(4096):
                shown += chunk
        return process.wait(60), shown.decode().replace('\r\n', '\n')

    def setUp(self):
        super().setUp()
        self.put(GOOD)
        # The first time broken, then better.
        self.editor = self.script(f"""if grep -q dany "$1"; then echo '{BETTER.strip()}' >"$1"; """
                                  f"""else echo '{BROKEN.strip()}' >"$1"; fi""")

    def test_edit_again(self):
        status, shown = self.answer(self.editor, b'what', b'e')
        self.assertEqual((status, self.text(), self.kept()), (0, BETTER, []), shown)
        self.assertIn(f'{self.path()}:1:', shown)

    def test_discard(self):
        status, shown = self.answer(self.editor, b'd')
        self.assertEqual((status, self.text(), self.kept()), (1, GOOD, []), shown)
        self.assertIn('discarded', shown)

    def test_keep(self):
        status, shown = self.answer(self.editor, b'k')
        self.assertEqual((status, self.text(), self.kept()), (18, GOOD, [BROKEN]), shown)
        self.assertIn(self.copies, shown)

    def test_interrupted(self):
        """At the question, nobody is lost for words: the copy is there, and named."""
        status, shown = self.answer(self.editor, b'\x03')
        self.assertEqual((self.text(), self.kept()), (GOOD, [BROKEN]), shown)
        self.assertRegex(shown, rf'Interrupted. Nothing was installed. The copy is kept: {self.copies}/vfiod-edit\.')
        self.assertEqual(status, -signal.SIGINT)

    def test_end_of_input(self):
        status, shown = self.answer(self.editor, b'\x04')
        self.assertEqual((status, self.text(), self.kept()), (18, GOOD, [BROKEN]), shown)


# A file system of its own, where /etc/vfiod is what the test has made.
ROOM = '''set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mkdir -p /etc/vfiod/policy.d
mount --bind "$2" /etc/vfiod/policy.d
shift 2
exec "$@"'''


class DaemonTest(VfiodTestCase):
    """The daemon that reads the policy is real, and finds it where edit does."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.start()
        for name in ('room', 'copies'):
            os.mkdir(f'{self.directory}/{name}')

    def in_room(self, *arguments, editor='true', before=''):
        script = f'{self.directory}/editor'
        with open(script, 'w') as f:
            f.write(f'#!/bin/sh\n{editor}\n')
        os.chmod(script, 0o755)
        room = ['unshare', '--map-root-user', '--mount', 'sh', '-c', ROOM, 'sh', f'{self.directory}/room',
                f'{self.directory}/policy.d']
        if subprocess.run([*room, 'true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest('this system has no user namespaces, or no overlayfs in them')
        process = self.tool('env', f'EDITOR={script}', f'TMPDIR={self.directory}/copies', *room, 'sh', '-c',
                            f'{before}\nexec "$@"', 'sh', os.environ['VFIOCTL'], *arguments)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def edit(self, editor, *arguments, before=''):
        return self.in_room('edit', *arguments, editor=editor, before=before)

    def test_files_that_differ(self):
        """Only where the daemon and vfioctl read the same files."""
        def differ():
            status, output = self.in_room('policy', 'show', '--loaded', '--json')
            self.assertEqual(status, 0, output)
            return json.loads(output)['filesDiffer']
        self.assertIs(differ(), False)
        self.set_policy([])
        self.assertIs(differ(), True)
        self.assertIn('The files have changed since', self.in_room('policy', 'show', '--loaded')[1])
        self.client().manager('ReloadPolicy', 'a{sv}', {})
        self.assertIs(differ(), False)

    def test_installed_and_loaded(self):
        claim = self.client().acquire(self.nic)
        status, output = self.edit(f"cat >\"$1\" <<'END'\n{ALLOW.format('mine')}END")
        self.assertEqual(status, 0, output)
        self.assertEqual(output, 'Installed /etc/vfiod/policy.d/50-test.json\nRules added: mine\n'
                         'Rules removed: test\nPolicy reloaded: 1 rule\n')
        status, output = self.edit(f"cat >\"$1\" <<'END'\n{GOOD}END", '50-test')
        self.assertEqual(status, 0, output)
        self.assertIn(f'no longer allows these claims, which are kept: {claim.id}', output)
        with self.refused('AccessDenied'):
            self.client().acquire(self.other)

    def test_full_disk(self):
        with open(f'{self.directory}/policy.d/50-test.json') as f:
            text = f.read()
        before = ('mount -t tmpfs -o size=8k,mode=755 none /etc/vfiod/policy.d\n'
                  f"echo '{GOOD.strip()}' >/etc/vfiod/policy.d/50-test.json")
        status, output = self.edit('head -c 9000 /dev/zero | tr "\\0" " " >>"$1"', '50-test', before=before)
        self.assertEqual(status, 1, output)
        self.assertIn('No space left on device', output)
        self.assertIn(f'is kept: {self.directory}/copies/', output)
        with open(f'{self.directory}/policy.d/50-test.json') as f:
            self.assertEqual(f.read(), text)

    def test_without_daemon(self):
        self.daemon.stop()
        status, output = self.edit(f"cat >\"$1\" <<'END'\n{GOOD}END")
        self.assertEqual(status, 3, output)
        self.assertIn('50-test.json is installed, but vfiod has not loaded it: ', output)

    def test_replaces_what_a_package_brings(self):
        before = ('mkdir -p /run/vfiod-test; mount -t tmpfs none /usr/lib/vfiod 2>/dev/null || mount -t tmpfs none /run\n'
                  'd=/run/vfiod; test -d /usr/lib/vfiod && d=/usr/lib/vfiod; mkdir -p $d/policy.d\n'
                  f"echo '{GOOD.strip()}' >$d/policy.d/70-vendor.json")
        status, output = self.edit('sed -i s/one/ours/ "$1"', '70-vendor', before=before)
        self.assertIn('The copy begins as ', output)
        self.assertIn('Installed /etc/vfiod/policy.d/70-vendor.json', output)


if __name__ == '__main__':
    harness.main()

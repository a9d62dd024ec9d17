#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion: what vfioctl offers, compared with its help, and what arrives in bash, zsh and fish."""

import contextlib
import importlib
import os
import pty
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import harness
from harness import SOURCE, wait

vfioctl = importlib.import_module('test-vfioctl')
EDU, NIC, PORT, Program = vfioctl.EDU, vfioctl.NIC, vfioctl.PORT, vfioctl.Program
BASH_COMPLETION = '/usr/share/bash-completion/bash_completion'


def options_of(text):
    """Of the lines of a help that show options."""
    return {o for line in text.splitlines() if re.match(r' +-', line) for o in re.findall(r'--[a-z][a-z-]+', line[:27])}


class CompletionTest(vfioctl.ClientTest):
    def offered(self, *words):
        """word -> what it means"""
        out = self.succeeds('__complete', '--', *words)
        return dict(line.partition('\t')[::2] for line in out.splitlines())

    def verbs(self):
        """Every verb of the help, as words."""
        text = self.succeeds('--help').split('\nVerbs:\n')[1].split('\nOptions:\n')[0]
        found = [re.match(r'  (policy [a-z]+|[a-z-]+)', l)[1].split() for l in text.splitlines() if re.match('  [a-z]', l)]
        self.assertGreater(len(found), 20)
        return found


class ProgramTest(CompletionTest):
    def test_verbs_are_those_of_the_help(self):
        verbs = self.verbs()
        self.assertEqual(list(self.offered('')), list(dict.fromkeys(v[0] for v in verbs)))
        self.assertEqual(list(self.offered('policy', '')), [v[1] for v in verbs if v[0] == 'policy'])
        self.assertEqual(self.offered('help', ''), self.offered(''))
        self.assertEqual(self.offered('help', 'policy', ''), self.offered('policy', ''))
        self.assertNotIn('__complete', self.succeeds('--help'))
        self.assertNotIn('__complete', self.fails(2, '__complet'))

    def test_options_are_those_of_the_help(self):
        every = set()
        for verb in self.verbs():
            help_text = self.succeeds(*verb, '--help')
            self.assertEqual(set(self.offered(*verb, '-')), options_of(help_text), verb)
            every |= options_of(help_text)
            for option, meaning in self.offered(*verb, '--').items():
                self.assertTrue(meaning, option)
        self.assertEqual(every, options_of(self.succeeds('--help')))
        self.assertEqual(set(self.offered('-')), set(self.offered('help', '-')))

    def test_values(self):
        self.assertEqual(set(self.offered('--color', '')), {'auto', 'always', 'never'})
        self.assertEqual(set(self.offered('list', '--color=al')), {'--color=' + w for w in ('auto', 'always', 'never')})
        self.assertEqual(set(self.offered('list', '-o', '')), {'text', 'wide', 'name', 'json'})
        self.assertIn('iommufd', self.offered('plan', EDU, '--backend', ''))
        self.assertEqual(set(self.offered('policy', 'explain', '--user', '')), {':users'})
        self.assertEqual(set(self.offered('policy', 'explain', '--group', '')), {':groups'})
        self.assertEqual(set(self.offered('policy', 'check', '')), {':files'})
        self.assertEqual(self.offered('plan', '--reason', ''), {})
        self.assertEqual(set(self.offered('list', 'state=')), {'state=free', 'state=claimed', 'state=quarantined'})
        self.assertIn('state=', self.offered('list', ''))
        self.assertEqual(self.offered('nonsense', ''), {})
        self.assertEqual(self.offered('policy', 'nonsense', ''), {})
        self.assertEqual(set(self.offered('nonsense', '-')), set(self.offered('-')))
        self.assertEqual(set(self.offered('virt', '')), {'start', 'attach', 'detach', 'follow'})

    def test_filters_are_columns(self):
        """All of them, and no others."""
        found = [f for f in self.offered('list', '')]
        message = self.fails(2, 'list', 'nonsense=x')
        self.assertEqual({f.rstrip('=') for f in found}, set(re.search(r'columns are (.*)\.', message)[1].split(', ')))

    def test_objects(self):
        claim = self.make_claim(EDU)
        for verb in ('plan', 'hold', 'setup', 'caps', 'vf'):
            self.assertEqual(list(self.offered(verb, '')), [NIC, PORT, EDU])
        self.assertEqual(self.offered('plan', '')[NIC], 'ethernet, free')
        self.assertEqual(list(self.offered('plan', '0')), [n[4:] for n in (NIC, PORT, EDU)])
        self.assertEqual(list(self.offered('status', '')), [NIC, PORT, EDU, 'group:8', 'group:10', claim.id])
        self.assertEqual(list(self.offered('release', '')), [NIC, PORT, EDU, claim.id])
        self.assertTrue(self.offered('release', '')[claim.id].endswith(f'({os.getuid()}), {EDU}'))
        self.assertEqual(list(self.offered('exec', '-d', '')), [NIC, PORT, EDU])
        self.assertEqual(list(self.offered('exec', '--device=')), ['--device=' + n for n in (NIC, PORT, EDU)])

    def test_command(self):
        self.assertEqual(set(self.offered('exec', '')), {':command 1'})
        self.assertEqual(set(self.offered('exec', '-d', EDU, '--', 'qemu', '-m')), {':command 4'})
        self.assertEqual(set(self.offered('exec', '--json', 'qemu', '--', '-m')), {':command 2'})
        self.assertIn('--qemu', self.offered('exec', '-'))

    def test_hostile_names(self):
        self.mock.add_device('pci:0000:00:02.0', 10, State='a\tb\n:files\x1b[2J')
        self.assertEqual(self.offered('plan', '')['pci:0000:00:02.0'], r'ethernet, a\x09b\x0a:files\x1b[2J')

    def test_without_a_daemon(self):
        for environment in ({'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'}, {}):
            self.mock.link.close()
            self.assertEqual(self.succeeds('__complete', '--', 'plan', '', **environment), '')
        self.fails(2, '__complete')


class ShellTest(CompletionTest):
    """In each shell: what is offered for a line."""

    shell = None

    def setUp(self):
        if not self.shell:
            self.skipTest('of which all shells are made')
        if not shutil.which(self.shell):
            self.skipTest(f'{self.shell} is not installed')
        super().setUp()
        self.home = f'{self.directory}/home'
        os.makedirs(f'{self.home}/bin')
        os.symlink(os.environ['VFIOCTL'], f'{self.home}/bin/vfioctl')
        with open(f'{self.home}/bin/some-command', 'w') as f:
            f.write('#!/bin/sh\n')
        os.chmod(f'{self.home}/bin/some-command', 0o755)
        self.work = f'{self.home}/work'
        os.makedirs(self.work)
        with open(f'{self.work}/a-policy.json', 'w') as f:
            f.write('[]')

    def environment(self):
        return {'PATH': f'{self.home}/bin:{os.environ["PATH"]}', 'HOME': self.home, 'XDG_CONFIG_HOME': self.home,
                'XDG_DATA_HOME': self.home, 'XDG_CACHE_HOME': self.home, 'TERM': 'dumb'}

    def complete(self, *lines):
        """A set for each line, which ends where the cursor is."""
        raise NotImplementedError

    def one(self, line):
        return self.complete(line)[0]

    def test_verbs_and_options(self):
        verbs = [' '.join(v) for v in self.verbs()]
        found = self.complete('vfioctl ', *(f'vfioctl {v} --' for v in verbs))
        self.assertEqual(found[0], set(self.offered('')))
        for verb, options in zip(verbs, found[1:]):
            self.assertEqual(options, options_of(self.succeeds(*verb.split(), '--help')), verb)

    def test_names_with_colons(self):
        found = self.complete('vfioctl plan pci:0000:0', 'vfioctl plan pci:0000:06', 'vfioctl plan 0000:00:', 'vfioctl status gro',
                              'vfioctl hold pci:0000:00:04.0 pci:0000:06', 'vfioctl selftest pci:0000:06')
        self.assertEqual(found, [{NIC, PORT, EDU}, {EDU}, {NIC[4:], PORT[4:]}, {'group:8', 'group:10'}, {EDU}, {EDU}])

    def test_values_and_filters(self):
        found = self.complete('vfioctl --color a', 'vfioctl list --color=a', 'vfioctl list sta', 'vfioctl list state=f',
                              'vfioctl exec --device pci:0000:06')
        self.assertEqual(found, [{'auto', 'always'}, {'--color=auto', '--color=always'}, {'state='}, {'state=free'}, {EDU}])

    def test_what_the_shell_knows(self):
        files, users, command = self.complete('vfioctl policy check a-p', 'vfioctl policy explain --user roo',
                                              f'vfioctl exec --device {EDU} -- some-com')
        self.assertEqual((files, users, command), ({'a-policy.json'}, {'root'}, {'some-command'}))


class BashTest(ShellTest):
    shell = 'bash'

    def setUp(self):
        if not os.path.exists(BASH_COMPLETION):
            self.skipTest('bash-completion is not installed')
        super().setUp()

    def complete(self, *lines):
        script = f'source {BASH_COMPLETION}\nsource {SOURCE}/src/client/vfioctl.bash\ncd {self.work}\n'
        script += 'compopt() { :; }\n'  # works only while readline completes
        for line in lines:
            # As readline splits it.
            words = [w for part in re.split(r' +', line) for w in (re.findall(r'[:=]+|[^:=]+', part) or [''])]
            script += (f'COMP_WORDS=({" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; COMP_LINE={shlex.quote(line)}\n'
                       'COMP_POINT=${#COMP_LINE}; COMPREPLY=(); _vfioctl vfioctl\nprintf "%s\\n" "${COMPREPLY[@]}" "<end>"\n')
        status, out, err = Program(self, ['bash', '--norc', '-c', script], **self.environment()).end()
        self.assertEqual((status, err), (0, ''), out)
        answers = out.split('<end>\n')[:-1]
        self.assertEqual(len(answers), len(lines))
        # readline keeps what is before the last of ":=".
        kept = [re.match(r'(?:.* )?([^ ]*[:=])?[^ :=]*$', line)[1] or '' for line in lines]
        return [{k + w for w in answer.split('\n') if w} for k, answer in zip(kept, answers)]

    def test_on_a_terminal(self):
        """What readline makes of it: the name is completed, and not doubled."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        rc = f'{self.home}/rc'
        with open(rc, 'w') as f:
            f.write(f'PS1="$ "\nsource {BASH_COMPLETION}\nsource {SOURCE}/src/client/vfioctl.bash\n')
        program = Program(self, ['bash', '--rcfile', rc, '-i'], stdout=theirs, terminal=theirs, **self.environment())
        os.close(theirs)
        os.write(ours, b'vfioctl plan pci:0000:06\t > %s/done # \n' % self.work.encode())
        os.write(ours, b'exit\n')
        program.end()
        said = b''
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 65536):
                said += chunk
        self.assertIn(('Plan', [EDU], {}), self.mock.calls, said)


class FishTest(ShellTest):
    shell = 'fish'

    def complete(self, *lines):
        script = f'source {SOURCE}/src/client/vfioctl.fish\ncd {self.work}\n'
        for line in lines:
            script += f'complete -C {shlex.quote(line)}\necho "<end>"\n'
        status, out, err = Program(self, ['fish', '--no-config', '-c', script], **self.environment()).end()
        self.assertEqual((status, err), (0, ''), out)
        answers = out.split('<end>\n')[:-1]
        self.assertEqual(len(answers), len(lines))
        return [{l.partition('\t')[0] for l in answer.splitlines()} for answer in answers]


class ZshTest(ShellTest):
    shell = 'zsh'
    # What is added is written into a file, and the key ^Y says that one completion is over.
    SETUP = r"""
PS1='> '
unsetopt beep
fpath=($HOME/functions $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a found
    builtin compadd -A found "$@"
    ((${#found})) && print -rl -- $found >>$HOME/found
    builtin compadd "$@"
}
over() { print '<end>' >>$HOME/found; zle kill-whole-line }
zle -N over
bindkey '^Y' over
bindkey '^I' complete-word
: >>$HOME/found
"""

    def complete(self, *lines):
        os.makedirs(f'{self.home}/functions', exist_ok=True)
        shutil.copy(f'{SOURCE}/src/client/vfioctl.zsh', f'{self.home}/functions/_vfioctl')
        with open(f'{self.home}/.zshrc', 'w') as f:
            f.write(self.SETUP)
        found = f'{self.home}/found'
        with contextlib.suppress(FileNotFoundError):
            os.unlink(found)
        ours, theirs = pty.openpty()
        program = Program(self, ['zsh', '-i'], stdout=theirs, terminal=theirs, cwd=self.work, **self.environment())
        os.close(theirs)
        try:
            wait(lambda: os.path.exists(found), 'zsh is ready')
            for i, line in enumerate(lines):
                os.write(ours, line.encode() + b'\t\x19')
                wait(lambda: self.read(found).count('<end>') > i, line)
                os.read(ours, 1 << 20)
            os.write(ours, b'exit\n')
            program.end()
        finally:
            os.close(ours)
        answers = self.read(found).split('<end>\n')[:-1]
        self.assertEqual(len(answers), len(lines))
        return [{w for w in answer.split('\n') if w} for answer in answers]

    def read(self, path):
        with open(path) as f:
            return f.read()


class ReadmeTest(unittest.TestCase):
    """The five commands of the README arrive in each shell as they are printed."""

    PLAIN = {'bash': ['bash', '--norc', '-c'], 'zsh': ['zsh', '-f', '-c'], 'fish': ['fish', '--no-config', '-c']}

    def blocks(self):
        text = (SOURCE / 'README.md').read_text()
        text = text[text.index('in five commands'):text.index('\n## Why')]
        found = re.findall(r'^```sh[^\n]*\n(.*?)^```$', text, re.M | re.S)
        commands = [c for block in found for c in re.sub(r'\\\n', ' ', block).splitlines()]
        self.assertEqual(len(commands), 5, commands)
        self.assertTrue(all(c.startswith('vfioctl ') for c in commands), commands)
        return found, [shlex.split(c) for c in commands]

    def arrived(self, shell, blocks):
        """The arguments of each call, by a vfioctl that writes them down."""
        with tempfile.TemporaryDirectory(prefix='vfiod-test-readme.') as directory:
            program = f'{directory}/vfioctl'
            with open(program, 'w') as f:
                f.write(f'#!/bin/sh\n{{ printf "%s\\0" vfioctl "$@"; echo; }} >>{directory}/calls\n')
            os.chmod(program, 0o755)
            for block in blocks:
                subprocess.run([*self.PLAIN[shell], block], check=True, cwd=directory, stdin=subprocess.DEVNULL, timeout=60,
                               env={'PATH': f'{directory}:{os.environ["PATH"]}', 'HOME': directory, 'TERM': 'dumb'})
            with open(f'{directory}/calls') as f:
                return [line.split('\0')[:-1] for line in f]

    def test_every_recipe_is_linked(self):
        recipes = SOURCE / 'docs/recipes'
        pages = {path.name for path in recipes.glob('*.md')} - {'README.md'}
        first_screen = (SOURCE / 'README.md').read_text().split('\n## ')[0]
        self.assertEqual({name for name in re.findall(r'\(docs/recipes/([\w-]+\.md)\)', first_screen)} - {'README.md'}, pages)
        self.assertEqual(set(re.findall(r'\]\(([\w-]+\.md)\)', (recipes / 'README.md').read_text())), pages)

    def test_every_block_can_be_pasted(self):
        """Comments are no comments where zsh reads what is typed, and fish does not split what a command prints at blanks."""
        text = (SOURCE / 'README.md').read_text()
        blocks = [b for b in re.findall(r'^```(?:sh[^\n]*)?\n(.*?)^```$', text, re.M | re.S) if not re.match(r'[ {$]|[0-9]+-', b)]
        self.assertGreater(len(blocks), 6)
        for block in blocks:
            self.assertNotRegex(block, r'(?m)(^| )#')
        command, = re.findall(r'\$\((sed .*)\)\n', text)
        names = {shell: subprocess.run([*self.PLAIN[shell], f"printf '<%s>' $({command})"], check=True, cwd=SOURCE, timeout=60,
                                       stdout=subprocess.PIPE).stdout for shell in self.PLAIN if shutil.which(shell)}
        self.assertEqual(len(set(names.values())), 1, names)
        self.assertRegex(names['bash'], rb'^(<[a-z0-9.+-]+>){30,}$')

    def test_in_every_shell(self):
        blocks, commands = self.blocks()
        for shell in self.PLAIN:
            with self.subTest(shell):
                if not shutil.which(shell):
                    self.skipTest(f'{shell} is not installed')
                self.assertEqual(self.arrived(shell, blocks), commands)


del ShellTest
if __name__ == '__main__':
    harness.main()

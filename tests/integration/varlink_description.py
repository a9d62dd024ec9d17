# SPDX-License-Identifier: LGPL-2.1-or-later
"""What varlink/*.varlink declare, and whether a reply is as declared."""

import functools
import re

from harness import SOURCE

SCALARS = {'bool': bool, 'int': int, 'float': float, 'string': str, 'object': object}
SERVICE_ERRORS = 'org.varlink.service'


class Description:
    """What a file declares: {name: [(field, type), …]} for types and errors, a pair of that for methods."""

    def __init__(self, path):
        text = re.sub(r'#[^\n]*', '', path.read_text())
        self._tokens = re.findall(r'->|[():,]|[^\s():,]+', text)
        self.types, self.methods, self.errors = {}, {}, {}
        self._take('interface')
        self.name = self._tokens.pop(0)
        while self._tokens:
            kind, name = self._tokens.pop(0), self._tokens.pop(0)
            if kind == 'method':
                parameters = self._struct()
                self._take('->')
                self.methods[name] = parameters, self._struct()
            else:
                {'type': self.types, 'error': self.errors}[kind][name] = self._struct()

    def _take(self, expected):
        token = self._tokens.pop(0)
        if token != expected:
            raise AssertionError(f'expected {expected}, found {token}')

    def _struct(self):
        fields = []
        self._take('(')
        while self._tokens[0] != ')':
            if fields:
                self._take(',')
            name = self._tokens.pop(0)
            self._take(':')
            fields.append((name, self._tokens.pop(0)))
        self._take(')')
        return fields


@functools.cache
def description(interface):
    return Description(SOURCE / f'varlink/{interface}.varlink')


def check_value(types, value, kind, where):
    """Objects of a named type may lack fields: List shows those that were asked for."""
    if kind.startswith('?'):
        return value is None or check_value(types, value, kind[1:], where)
    for prefix, container in ('[]', list), ('[string]', dict):
        if kind.startswith(prefix):
            assert isinstance(value, container), f'{where} is {value!r}, expected {kind}'
            for key, item in value.items() if container is dict else enumerate(value):
                check_value(types, item, kind[len(prefix):], f'{where}[{key}]')
            return
    if kind in SCALARS:
        assert isinstance(value, SCALARS[kind]) and (kind != 'int' or value is not True and value is not False), \
            f'{where} is {value!r}, expected {kind}'
        return
    check_fields(types, value, types[kind], where)


def check_fields(types, value, fields, where):
    assert isinstance(value, dict), f'{where} is {value!r}'
    declared = dict(fields)
    assert set(value) <= set(declared), f'{where} has {sorted(set(value) - set(declared))}, which the contract does not declare'
    for name, member in value.items():
        check_value(types, member, declared[name], f'{where}.{name}')


def check_reply(method, message):
    """An AssertionError unless the reply to this method, or its error, has what the contract declares, and all of it."""
    interface, _, name = message.get('error', method).rpartition('.')
    contract, parameters = description(interface), message.get('parameters') or {}
    fields = contract.errors[name] if 'error' in message else contract.methods[name][1]
    check_fields(contract.types, parameters, fields, name)
    missing = [field for field, kind in fields if kind[0] != '?' and field not in parameters]
    assert not missing, f'{name} lacks {missing}'

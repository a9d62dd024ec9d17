# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims VFIO devices from vfiod, the daemon that owns this privilege on the host.

A claim is a context manager, and has the file descriptors of its devices:

    import vfiod

    with vfiod.acquire(['pci:0000:06:0d.0'], backend='iommufd', reason='my driver') as claim:
        drive(claim.fd('iommufd'), claim.device_fd('pci:0000:06:0d.0'))

It lives as long as its lifeline is open in some process, and its devices are free for others when the last file
descriptor of them is closed too. Whatever ends the program ends the claim.

The functions of this module connect to the daemon for one call. A Connection is for programs that make many. Everything
goes through the Varlink interface org.vfiod.Broker, which `varlinkctl introspect /run/vfiod/org.vfiod.Broker
org.vfiod.Broker` describes: the dictionaries that plan(), explain(), list() and monitor() return are its types.
$VFIOD_SOCKET names another socket.

Only the standard library is used. File descriptors are not inherited by other programs (see os.set_inheritable()).
"""

import array
import contextlib
import json
import os
import select
import socket
import struct

__all__ = ['Claim', 'Connection', 'Error', 'Unreachable', 'acquire', 'claim', 'explain', 'list', 'monitor', 'plan',
           'release', 'reserve', 'transfer']

SOCKET = '/run/vfiod/org.vfiod.Broker'
INTERFACE = 'org.vfiod.Broker'
MESSAGE_MAX = 16 << 20  # a reply of the daemon is never as large
PATIENCE = 10           # seconds until the daemon takes a connection, or what is sent to it
FDS_MAX = 253           # what the kernel passes with one message
FDS_SPACE = socket.CMSG_SPACE(FDS_MAX * array.array('i').itemsize)

_list = list


def _requirements(require):
    return require if require is None or isinstance(require, str) else ','.join(require)


def _settings(network):
    if network is None or isinstance(network, str):
        return network
    words = {True: 'on', False: 'off'}
    return ','.join(f'{key}={words[value] if isinstance(value, bool) else value}' for key, value in network.items())


def _names(devices):
    """The names as a list. A single name is one device, and not one for each of its characters."""
    return [devices] if isinstance(devices, str) else _list(devices)


def _reason(e):
    """What went wrong with the socket, for people."""
    return 'it does not answer.' if isinstance(e, BlockingIOError) else e.strerror or e


def _process(pid):
    """A running process as parameters. The id of its pidfd tells it from a later one with the same number; kernels before
    6.9 have no such ids: there every pidfd is the same inode as every other anonymous file."""
    if pid is None:
        return {}
    pidfd, anonymous = os.pidfd_open(pid), select.epoll()
    try:
        info = os.fstat(pidfd)
        has_id = not os.path.samestat(info, os.fstat(anonymous.fileno()))
    finally:
        anonymous.close()
        os.close(pidfd)
    return {'pid': pid, 'pidfdId': info.st_ino} if has_id else {'pid': pid}


class Error(Exception):
    """The daemon refused a call.

    name        the error, such as 'NoSuchDevice' or 'AccessDenied': the names are those of org.vfiod.Broker
    message     for people: the device, the reason, and what to do
    parameters  all that the daemon reported, as far as it applies: device, reason, rule, file, line, remedy, blockers
                (what stands in the way: a list of {kind, name, why}), obstacles. These are attributes too, None where
                they do not apply.
    """

    def __init__(self, name, parameters=None):
        self.name = name
        self.parameters = parameters or {}
        self.message = self.parameters.get('message') or ': '.join([name, *map(str, self.parameters.values())])
        super().__init__(self.message)

    def __getattr__(self, name):
        if name.startswith('_'):
            raise AttributeError(name)
        return self.parameters.get(name)

    def __reduce__(self):
        return Error, (self.name, self.parameters)


class Unreachable(Error):
    """The daemon cannot be reached, closed the connection, or answered what is no answer."""

    def __init__(self, message):
        super().__init__('Unreachable', {'message': message})

    def __reduce__(self):
        return Unreachable, (self.message,)


class Claim:
    """Devices that this process has claimed.

    id       names the claim in vfioctl(1) and in the log
    backend  'iommufd', 'group', 'compat', 'vhost-vdpa' or 'noiommu'
    rule     the operator's rule that allowed it
    grant    'fd', 'node' or 'none'
    nodes    with the grant 'node': the paths that this user can open as long as the claim is held
    tether   what it is tied to: 'lifeline', 'process', 'connection', 'unit' or 'explicit'
    devices  the full names of its devices, in the order of the request
    vf_tokens
             device -> token of its physical function, of virtual functions that the kernel opens only with it
    fds      name -> file descriptor: 'iommufd', 'device:pci:0000:06:0d.0', 'container', 'group:8', 'lifeline'

    The claim owns its file descriptors, and close() closes them. take_fd() hands one over.
    """

    def __init__(self, reply, fds, spellings=(), connection=None):
        self.id = reply.get('claim', '')
        self.backend = reply.get('backend', '')
        self.rule = reply.get('rule', '')
        self.grant = reply.get('grant', '')
        self.nodes = _list(reply.get('nodes') or ())
        self.tether = reply.get('tether', '')
        self.devices = _list(reply.get('devices', ()))
        self.vf_tokens = {d: t for d, t in zip(self.devices, reply.get('vfTokens') or ()) if t}
        self.fds = fds
        self._spellings = dict(zip(spellings, self.devices))
        self._connection = connection  # it may be tied to it

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self.close()

    def __repr__(self):
        return f'<vfiod.Claim {self.id} {" ".join(self.devices)}>'

    def close(self):
        """Closes all file descriptors that were not taken, which ends the claim unless another process has a copy of its
        lifeline. With the tethers 'process', 'unit' and 'explicit' it goes on: see release(). May be called again."""
        fds, self.fds = getattr(self, 'fds', {}), {}
        for fd in fds.values():
            with contextlib.suppress(OSError):
                os.close(fd)
        connection, self._connection = getattr(self, '_connection', None), None
        if connection:
            connection.close()

    def fd(self, name):
        """A file descriptor by name; it stays the claim's. KeyError: there is none of that name."""
        return self.fds[name]

    def take_fd(self, name):
        """The same, and it is the caller's to close from now on."""
        return self.fds.pop(name)

    def device_fd(self, device=None):
        """The file descriptor of a device, by its full name or as it was requested; the first one's by default."""
        device = self.devices[0] if device is None else device
        return self.fds['device:' + self._spellings.get(device, device)]

    def add_devices(self, devices, *, reason=None, memlock=None, untainted=None, require=None, network=None,
                    interactive=None):
        """Adds devices to the claim, all or none, for the same iommufd (hotplug). The options are those of acquire(); memlock
        is in addition to that of the claim."""
        devices = _names(devices)
        with Connection() as c:
            reply, fds = c.call('AddDevices', claim=self.id, devices=devices, reason=reason, memlock=memlock,
                                untainted=untainted, require=_requirements(require), network=_settings(network),
                                allowInteractiveAuthentication=interactive)
        new = [d for d in reply.get('devices', ()) if d not in self.devices]
        if len(new) == len(devices):
            self._spellings.update(zip(devices, new))
        self.devices += new
        self.nodes += [n for n in reply.get('nodes') or () if n not in self.nodes]
        self.vf_tokens.update((d, t) for d, t in zip(reply.get('devices', ()), reply.get('vfTokens') or ()) if t)
        self.fds.update(fds)

    def release_devices(self, devices):
        """Gives devices back, and closes the claim's file descriptors of them. Close your own copies before. The names are
        those of the request, or full names. KeyError: the claim has no such device."""
        devices = _names(devices)
        for device in devices:
            if self._spellings.get(device, device) not in self.devices:
                raise KeyError(device)  # it could not be closed here, and would never be restored
        with Connection() as c:
            c.call('ReleaseDevices', claim=self.id, devices=devices)
        for name in (self._spellings.get(d, d) for d in devices):
            if name in self.devices:
                self.devices.remove(name)
            fd = self.fds.pop('device:' + name, None)
            if fd is not None:
                os.close(fd)

    def answer_eviction(self, more=None):
        """See Connection.answer_eviction()."""
        with Connection() as c:
            c.answer_eviction(self.id, more)

    def ready_to_sleep(self):
        """See Connection.ready_to_sleep()."""
        with Connection() as c:
            c.ready_to_sleep(self.id)

    def release(self):
        """Ends the claim by a call, also where other processes have its lifeline, and closes it here."""
        with Connection() as c:
            c.release(self.id)
        self.close()


class Connection:
    """A connection to the daemon, for one call at a time. A context manager, too.

    The claims that are made through it do not depend on it, but for those with the tether 'connection'.
    """

    def __init__(self, path=None):
        self.path = path or os.environ.get('VFIOD_SOCKET') or SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._data = b''
        self._fds = []
        # The socket stays one that blocks: others do not wait in connect(2) for a place in the queue.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('@ll', PATIENCE, 0))
        try:
            self._socket.connect(self.path)
        except OSError as e:
            self._socket.close()
            raise Unreachable(f'Cannot connect to vfiod at {self.path}: {_reason(e)}') from e

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends what is under way. May be called again."""
        self._socket.close()
        self._close_fds()

    def fileno(self):
        """For select(2): monitor() of this connection has something to read. Read until has_input() is false before you wait."""
        return self._socket.fileno()

    def has_input(self):
        """Something has arrived, here or in the socket."""
        return b'\0' in self._data or bool(select.select([self._socket], [], [], 0)[0])

    def _close_fds(self):
        while self._fds:
            os.close(self._fds.pop())

    def _send(self, method, parameters, more=False):
        message = {'method': f'{INTERFACE}.{method}', 'parameters': parameters}
        if more:
            message['more'] = True
        data = json.dumps(message).encode() + b'\0'
        try:
            self._socket.sendall(data)
        except OSError as e:
            self.close()  # half of a call may be there
            raise Unreachable(f'Cannot call vfiod at {self.path}: {_reason(e)}') from e

    def _read(self):
        """The next message: (what it is, the file descriptors that came with it, which are the caller's)."""
        while b'\0' not in self._data:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(65536, FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
            except OSError as e:
                raise Unreachable(f'vfiod closed the connection: {e.strerror or e}') from e
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array('i')
                    fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
                    self._fds += fds
            if not data:
                raise Unreachable('vfiod closed the connection.')
            self._data += data
            if len(self._data) > MESSAGE_MAX or len(self._fds) > FDS_MAX or flags & socket.MSG_CTRUNC:
                raise Unreachable("vfiod's answer is too large.")
        data, self._data = self._data.split(b'\0', 1)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError) as e:
            raise Unreachable(f"vfiod's answer is no JSON: {e}") from e
        if not isinstance(message, dict) or not isinstance(message.get('parameters', {}), (dict, type(None))):
            raise Unreachable("vfiod's answer is not a message of Varlink.")
        fds, self._fds = self._fds, []
        return message, fds

    def _receive(self):
        """(parameters, file descriptors, more will come), or the error that the daemon reported."""
        try:
            message, fds = self._read()
        except Unreachable:
            self.close()
            raise
        error = message.get('error')
        if error is not None:
            for fd in fds:
                os.close(fd)
            raise Error(str(error).removeprefix(INTERFACE + '.'), message.get('parameters'))
        return message.get('parameters') or {}, fds, message.get('continues') is True

    @staticmethod
    def _name_fds(reply, fds):
        """name -> file descriptor. Those that have no name are closed."""
        named = {}
        try:
            for entry in reply.get('fds') or ():
                index, name = entry['fileDescriptorIndex'], entry['name']
                if not isinstance(name, str) or type(index) is not int or index < 0:
                    raise ValueError(name)
                if name in named or fds[index] in named.values():
                    raise ValueError(name)
                named[name] = fds[index]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
            for fd in fds:
                os.close(fd)
            raise Unreachable("vfiod's answer names file descriptors that it does not have.") from e
        for fd in set(fds) - set(named.values()):
            os.close(fd)
        return named

    def call(self, method, /, **parameters):
        """Calls a method of org.vfiod.Broker with one reply; parameters that are None are left out. Returns its parameters
        and the named file descriptors, which are the caller's."""
        self._send(method, {k: v for k, v in parameters.items() if v is not None})
        reply, fds, _ = self._receive()
        return reply, self._name_fds(reply, fds)

    def stream(self, method, /, **parameters):
        """Calls a method with many replies: an iterator over their parameters."""
        self._send(method, {k: v for k, v in parameters.items() if v is not None}, more=True)
        more = True
        while more:
            reply, fds, more = self._receive()
            for fd in fds:
                os.close(fd)
            yield reply

    # --- the verbs ------------------------------------------------------------------------------------------------

    def acquire(self, devices=(), *, backend=None, reason=None, memlock=None, untainted=None, grant=None, tether=None,
                pid=None, cookie=None, require=None, network=None, ticket=None, wait=None, duration=None, interactive=None):
        """Claims devices, all or none, and waits until they are there; binding a driver may take a minute.

        devices      names in any spelling: 'pci:0000:06:0d.0', '06:0d.0'
        backend      'iommufd', 'group', 'compat', 'vhost-vdpa' or 'noiommu'; by default what rule and kernel support, iommufd
                     first
        reason       what it is for, kept in the audit record
        memlock      bytes to which the locked-memory limit of this process is raised, if the rule allows it
        untainted    True: refuse unless the host is untainted
        grant        'fd' (default), 'node' or 'none', see libvfiod(3)
        tether       what the claim is tied to: 'lifeline' (default), 'process', 'connection', 'unit' or 'explicit'
        pid          with the tether 'process': tie the claim to this process of the same user instead of to the caller
        cookie       a name for the claim, for claim() and transfer()
        require      what each device must be able to do: 'pasid,migration=p2p' or ['pasid', 'migration=p2p']
        network      what the network card has for each device, a virtual function, during the claim:
                     'mac=52:54:00:12:34:56,vlan=12' or {'mac': '52:54:00:12:34:56', 'vlan': 12, 'trust': False}
        ticket       of reserve(): stands for its device, and no device is named
        wait         for how many seconds to wait in the queue while claims of others have the devices
        duration     for how many seconds the claim is wanted: it is evicted after them
        interactive  True: polkit may ask a person, if the rule requires authentication
        """
        devices = _names(devices)
        reply, fds = self.call('Acquire', devices=devices, backend=backend, reason=reason, memlock=memlock,
                               untainted=untainted, grant=grant, tether=tether, cookie=cookie, require=_requirements(require),
                               network=_settings(network), ticket=ticket, wait=wait, duration=duration, **_process(pid),
                               allowInteractiveAuthentication=interactive)
        if not isinstance(reply.get('claim'), str) or not isinstance(reply.get('devices'), _list):
            Claim({}, fds).close()
            raise Unreachable("vfiod's answer has no claim.")
        return Claim(reply, fds, devices)

    def reserve(self, device, *, ttl=None, uid=None, gids=None, backend=None, reason=None, untainted=None, grant=None,
                tether=None, require=None, interactive=None):
        """Reserves a device for whoever brings the ticket, and returns a dictionary with 'ticket', 'device', 'claim', 'uid' and
        'until'. release() with that claim cancels it.

        device       a name, a pattern ('0000:06:*'), 'class:ethernet' or 'tag:uplink'; of several the first that is free
        ttl          seconds for which the ticket is valid; 300 by default
        uid, gids    for root: who will redeem it, instead of the user of the caller

        The rest as of acquire(), which must be given it again."""
        return self.call('Reserve', device=device, ttl=ttl, uid=uid, gids=gids and _list(gids), backend=backend,
                         reason=reason, untainted=untainted, grant=grant, tether=tether, require=_requirements(require),
                         allowInteractiveAuthentication=interactive)[0]

    def release(self, claim):
        """Ends a claim by its id or as 'cookie:COOKIE': for its owner and for root. Does not wait until its devices are
        restored."""
        self.call('Release', claim=claim)

    def answer_eviction(self, claim, more=None):
        """Acknowledges the eviction of a claim, and asks for so many seconds more: over all answers, at most what its rule
        allows. The fields `eviction` and `evictAt` of the claim show whether it is evicted, and by when it must be given back."""
        self.call('AnswerEviction', claim=claim, more=more)

    def ready_to_sleep(self, claim):
        """The host is about to sleep (the field `sleepAt` of the claim is not 0), and need not wait for this claim any longer.
        monitor('claim') reports `sleepAt`, and `resume` after the host woke up."""
        self.call('ReadyToSleep', claim=claim)

    def transfer(self, claim, *, tether=None, pid=None):
        """Hands a claim to another holder: to the process `pid`, or to the caller, by a tether of this kind (default: that of
        the claim). The previous tether no longer counts. Returns a Claim without the file descriptors of its
        devices, but with the lifeline where that is the tether."""
        reply, fds = self.call('Transfer', claim=claim, tether='process' if pid is not None else tether, **_process(pid))
        return Claim({'claim': claim, **reply}, fds)

    def plan(self, devices, **options):
        """What acquire() with these options would do, without doing it. Raises what it would raise."""
        return self.call('Plan', devices=_names(devices), **options)[0]['plan']

    def explain(self, devices=None, **options):
        """Why the policy decides so about a request (devices and options of acquire()), a claim (claim=ID), or the last
        refusal of the caller (lastRefusal=True)."""
        return self.call('Explain', devices=None if devices is None else _names(devices), **options)[0]['explanation']

    def list(self, *kinds, **named):
        """Objects, as (kind, object): of these kinds ('host', 'device', 'group', 'claim'), or all. Or the one that is named
        by device=, group=, claim= or host=True, with the costly fields that fields=[…] names."""
        for reply in self.stream('List', kinds=_list(kinds) or None, **named):
            yield from ((kind, value) for kind, value in reply.items() if value is not None)

    def claim(self, claim, fields=None):
        """One claim, by its id or as 'cookie:COOKIE'."""
        return dict(self.list(claim=claim, fields=fields))['claim']

    def monitor(self, *kinds):
        """All objects of these kinds and then every change, for ever: dictionaries with 'event' ('present', 'complete',
        'added', 'changed', 'removed', 'resync'), 'kind', and the object under its kind."""
        yield from self.stream('Monitor', kinds=_list(kinds) or None)


# ---- one call, one connection ----------------------------------------------------------------------------------------


def _claim_by(function, *arguments, **options):
    """A claim by a connection of its own, which a claim with the tether 'connection' keeps."""
    c = Connection()
    try:
        result = function(c, *arguments, **options)
    except BaseException:
        c.close()
        raise
    if 'connection' in (result.tether, options.get('tether')):
        result._connection = c
    else:
        c.close()
    return result


def acquire(devices=(), **options):
    """See Connection.acquire(). A claim with the tether 'connection' keeps its connection."""
    return _claim_by(Connection.acquire, devices, **options)


def reserve(device, **options):
    """See Connection.reserve()."""
    with Connection() as c:
        return c.reserve(device, **options)


def release(claim):
    """See Connection.release()."""
    with Connection() as c:
        c.release(claim)


def answer_eviction(claim, more=None):
    """See Connection.answer_eviction()."""
    with Connection() as c:
        c.answer_eviction(claim, more)


def ready_to_sleep(claim):
    """See Connection.ready_to_sleep()."""
    with Connection() as c:
        c.ready_to_sleep(claim)


def transfer(claim, **options):
    """See Connection.transfer(). A claim with the tether 'connection' keeps its connection."""
    return _claim_by(Connection.transfer, claim, **options)


def plan(devices, **options):
    """See Connection.plan()."""
    with Connection() as c:
        return c.plan(devices, **options)


def explain(devices=None, **options):
    """See Connection.explain()."""
    with Connection() as c:
        return c.explain(devices, **options)


def claim(claim, fields=None):
    """See Connection.claim()."""
    with Connection() as c:
        return c.claim(claim, fields)


def list(*kinds, **named):  # noqa: A001 - the verb has this name everywhere
    """See Connection.list()."""
    with Connection() as c:
        yield from c.list(*kinds, **named)


def monitor(*kinds):
    """See Connection.monitor()."""
    with Connection() as c:
        yield from c.monitor(*kinds)

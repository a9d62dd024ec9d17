# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service on the bus that a test plays. It lives in the test's own process and main loop."""

import dbus.bus
import dbus.service


class MockService(dbus.service.Object):
    def __init__(self, address, name, path):
        self._bus = dbus.bus.BusConnection(address)
        self._bus.set_exit_on_disconnect(False)
        super().__init__(self._bus, path)
        self._owned = dbus.service.BusName(name, self._bus)

    def close(self):
        """The service goes. Again and again, for cleanups."""
        if self._owned:
            self._owned = None
            self.remove_from_connection()
            self._bus.close()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The modules of a pretended kernel: objects with aliases, and the index that depmod makes of them."""

import os
import subprocess


def install(root, modules, modprobe=''):
    """modules: name -> aliases without "vfio_pci:". modprobe: the text of a file in /etc/modprobe.d."""
    release = os.uname().release
    directory = f'{root}/lib/modules/{release}/kernel'
    os.makedirs(directory)
    os.makedirs(root + '/etc/modprobe.d', exist_ok=True)
    for name, aliases in modules.items():
        info = [f'name={name}', 'license=GPL', *(f'alias=vfio_pci:{alias}' for alias in aliases)]
        source = ''.join(f'__attribute__((section(".modinfo"), used)) static const char i{i}[] = "{text}";\n'
                         for i, text in enumerate(info))
        subprocess.run(['cc', '-x', 'c', '-c', '-', '-o', f'{directory}/{name}.ko'], input=source, text=True, check=True)
    for name in ('order', 'builtin', 'builtin.modinfo'):
        open(f'{root}/lib/modules/{release}/modules.{name}', 'w').close()
    subprocess.run(['/sbin/depmod', '-b', root, release], check=True)
    with open(root + '/etc/modprobe.d/test.conf', 'w') as f:
        f.write(modprobe)

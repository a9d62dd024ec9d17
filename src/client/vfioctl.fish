# SPDX-License-Identifier: LGPL-2.1-or-later
# fish completion for vfioctl(1): vfioctl itself knows what fits, see src/client/complete.h

function __vfioctl_complete
    set -l current (commandline -ct)
    set -l written (commandline -opc) "$current"
    for line in (command vfioctl __complete -- $written[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':users'
                __fish_complete_users
            case ':groups'
                __fish_complete_groups
            case ':command *'
                set -l first (math (string replace ':command ' '' -- $line) + 2)
                complete -C (string join ' ' -- (string escape -- $written[$first..-2]) "$current")
            case '*'
                echo $line
        end
    end
end

complete -c vfioctl -f -a '(__vfioctl_complete)'

#compdef vfioctl
# SPDX-License-Identifier: LGPL-2.1-or-later
# zsh completion for vfioctl(1): vfioctl itself knows what fits, see src/client/complete.h

_vfioctl() {
    local line word n ret=1
    local -a whole open

    for line in "${(@f)$(command vfioctl __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            '') ;;
            :files) _files && ret=0 ;;
            :users) _users && ret=0 ;;
            :groups) _groups && ret=0 ;;
            ':command '*)
                n=$((${line#:command } + 1))
                words=("${(@)words[n + 1,-1]}")
                ((CURRENT -= n))
                _normal
                return
                ;;
            *)
                word=${line%%$'\t'*}
                [[ $line == *$'\t'* ]] && line=${word//:/\\:}:${line#*$'\t'} || line=${word//:/\\:}
                [[ $word == *= ]] && open+=("$line") || whole+=("$line")
                ;;
        esac
    done
    ((${#whole})) && _describe vfioctl whole && ret=0
    ((${#open})) && _describe vfioctl open -S '' && ret=0
    return ret
}

_vfioctl "$@"

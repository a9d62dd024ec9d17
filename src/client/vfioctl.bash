# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for vfioctl(1): vfioctl itself knows what fits, see src/client/complete.h

# Of the words up to the number $1, as COMP_WORDS counts them: bash splits words at ':' and '=', and nobody else does.
_vfioctl_command() {
    local joined i=0 j

    for ((j = 0; j <= $1; j++)); do
        joined=''
        while [[ $joined != "${words[j]}" ]] && ((i < ${#COMP_WORDS[@]})); do
            joined+=${COMP_WORDS[i++]}
        done
    done
    _command_offset "$i"
}

_vfioctl() {
    local cur words cword line breaks

    COMPREPLY=()
    declare -F _get_comp_words_by_ref >/dev/null || return 0
    _get_comp_words_by_ref -n := cur words cword

    while IFS= read -r line; do
        case $line in
        :files)
            compopt -o filenames 2>/dev/null
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
            ;;
        :users) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -u -- "$cur") ;;
        :groups) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -g -- "$cur") ;;
        :command\ *)
            _vfioctl_command "${line#:command }"
            return 0
            ;;
        "$cur"*) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(vfioctl __complete -- "${words[@]:1:cword}" 2>/dev/null)

    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    # What is before the last of these, bash keeps by itself.
    breaks=${COMP_WORDBREAKS//[^:=]/}
    [[ -n $breaks ]] && COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*["$breaks"]}"}"}")
    return 0
}

complete -F _vfioctl vfioctl

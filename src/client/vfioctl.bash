# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for vfioctl(1)

# Full names of all devices, or ids of all claims. Silent when the daemon does not answer.
_vfioctl_devices() {
    vfioctl list --no-legend --color=never 2>/dev/null | while read -r name _; do echo "$name"; done
}

_vfioctl_claims() {
    vfioctl status --json 2>/dev/null | sed -n 's/^ *"id": *"\([0-9a-f]*\)",\{0,1\}$/\1/p'
}

# bash splits words at colons, which names have: complete the joined word, and return the part after the last colon.
_vfioctl_offer() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
}

_vfioctl() {
    local cur prev words cword verb='' i
    local verbs='list status plan setup exec hold release transfer memlock-for vf types virt monitor caps taint doctor reload policy snapshot help'
    local policy_verbs='check show explain test diff generate reload'
    local subject='--user --group --unit --slice --cgroup --label --scope --capability --namespace'
    local with_argument='--color|-o|--output|--sort|-d|--device|-b|--backend|-r|--reason|--memlock|--host|--policy|--user|--group|--unit'
    with_argument+='|--slice|--cgroup|--label|--scope|--capability|--namespace|--claim|--test|--grant|--tether|--cookie|--require|--hotplug|--ram|--devices'
    with_argument+='|--pid|--connect|--count|--autoprobe'
    local request='--backend --reason --memlock --untainted --grant --tether'
    local giving="$request --cookie --pid --require"
    local global='--json --no-legend --color --full --no-pager --help --version'

    COMPREPLY=()
    declare -F _get_comp_words_by_ref >/dev/null || return 0
    _get_comp_words_by_ref -n : cur prev words cword

    for ((i = 1; i < cword; i++)); do
        case ${words[i]} in
        --)
            break
            ;;
        -*) [[ ${words[i]} =~ ^($with_argument)$ ]] && ((i++)) ;;
        policy) verb='policy' ;;
        *)
            verb+=${verb:+ }${words[i]}
            break
            ;;
        esac
    done

    case $prev in
    --color)
        _vfioctl_offer 'auto always never'
        return 0
        ;;
    -d | --device)
        _vfioctl_offer "$(_vfioctl_devices)"
        return 0
        ;;
    -b | --backend)
        _vfioctl_offer 'iommufd group compat vhost-vdpa noiommu'
        return 0
        ;;
    --grant)
        _vfioctl_offer 'fd node none'
        return 0
        ;;
    --tether)
        _vfioctl_offer 'lifeline process connection unit explicit'
        return 0
        ;;
    --require)
        _vfioctl_offer 'pasid migration dirty-tracking dma-logging dma-buf coherency enforced-coherency interrupt-remapping'
        return 0
        ;;
    --memlock | --ram)
        _vfioctl_offer '1G 4G 16G 64G'
        return 0
        ;;
    --host | --policy | --test | --hotplug)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return 0
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -- "$cur")
        return 0
        ;;
    --group)
        mapfile -t COMPREPLY < <(compgen -g -- "$cur")
        return 0
        ;;
    --claim)
        _vfioctl_offer "$(_vfioctl_claims)"
        return 0
        ;;
    --autoprobe)
        _vfioctl_offer 'yes no'
        return 0
        ;;
    --namespace)
        _vfioctl_offer 'host other'
        return 0
        ;;
    -r | --reason | --cookie | --connect | --count | --pid | --devices | --unit | --slice | --cgroup | --label | --scope | --capability)
        return 0
        ;;
    esac

    # The arguments of exec's command belong to that command.
    if [[ $verb == exec ]]; then
        for ((i = i + 1; i < cword; i++)); do
            case ${words[i]} in
            -d | --device | -b | --backend | -r | --reason | --memlock | --color | --grant | --tether | --cookie | --require | --hotplug) ((i++)) ;;
            --)
                ((i++))
                _command_offset "$i"
                return 0
                ;;
            -*) ;;
            *)
                _command_offset "$i"
                return 0
                ;;
            esac
        done
    fi

    if [[ $cur == -* ]]; then
        case $verb in
        list) _vfioctl_offer "$global --groups --output --sort" ;;
        status) _vfioctl_offer "$global --output --sort" ;;
        taint) _vfioctl_offer "$global --sort" ;;
        plan) _vfioctl_offer "$global $giving" ;;
        hold) _vfioctl_offer "$global $giving --wait --no-ask-password" ;;
        exec) _vfioctl_offer "$global --device $giving --qemu --cloud-hypervisor --hotplug --print --wait --no-ask-password --" ;;
        setup) _vfioctl_offer "$global --user --qemu --libvirt --podman --ram --write --host --policy" ;;
        release) _vfioctl_offer "$global --device --no-wait" ;;
        transfer) _vfioctl_offer "$global --pid --tether" ;;
        memlock-for) _vfioctl_offer "$global --ram --devices --viommu --viommu=nested" ;;
        vf) _vfioctl_offer "$global --count --autoprobe" ;;
        virt) _vfioctl_offer "$global --connect" ;;
        caps) _vfioctl_offer "$global --probe" ;;
        snapshot) _vfioctl_offer "$global --serials --policy" ;;
        'policy explain') _vfioctl_offer "$global --host --policy $subject $request --claim --last-refusal" ;;
        'policy test') _vfioctl_offer "$global --host --policy" ;;
        'policy diff') _vfioctl_offer "$global --host --test" ;;
        'policy check' | 'policy show' | 'policy generate') _vfioctl_offer "$global --host" ;;
        *) _vfioctl_offer "$global" ;;
        esac
        return 0
    fi

    case $verb in
    '') _vfioctl_offer "$verbs" ;;
    policy | help\ policy) _vfioctl_offer "$policy_verbs" ;;
    help) _vfioctl_offer "$verbs" ;;
    'policy check' | 'policy show' | 'policy test' | 'policy diff')
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    plan | hold | caps | vf | 'policy explain') _vfioctl_offer "$(_vfioctl_devices)" ;;
    virt) _vfioctl_offer 'start attach detach' ;;
    status | release | transfer) _vfioctl_offer "$(_vfioctl_devices) $(_vfioctl_claims)" ;;
    esac
    return 0
}

complete -F _vfioctl vfioctl

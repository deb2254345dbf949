# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of migpolicy for bash.

# VM names are hostile text: they are compared and quoted, never given to compgen -W, which would
# run a $(command) in them. Names that JSON has to escape are left out.
_migpolicy_vms() {
    local vm
    while IFS= read -r vm; do
        [[ $vm == "$1"* && $vm != *\\* ]] && COMPREPLY+=("$(printf %q "$vm")")
    done < <(migpolicy "${socket[@]}" status --json --all 2>/dev/null |
        sed -n 's/^ *"vm": *"\(.*\)",\{0,1\}$/\1/p')
}

_migpolicy_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_migpolicy() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local verbs='status set unset overrides apply show explain history watch wait predict pending approve deny release pause resume bridge check reload replay simulate help version'
    local options='--output --json --host --socket --quiet --no-legend --help --version'
    local values='-o|-f|-H|--host|--file|--output|--socket|--policy|--expires|--scope|--label|--timeout|--color|--preset|--mode|--max-downtime|--min-cpu|--max-work-lost|--deadline'
    local fields=(preset mode max-downtime aim-downtime allow-throttle min-cpu max-work-lost
        allow-bandwidth max-bandwidth allow-compression-cache max-compression-cache allow-post-copy
        allow-suspend allow-cancel deadline deadline-per-gib on-deadline patience stall-timeout
        ask-timeout on-other-writer precopy-iterations precopy-threshold objective order)
    local described=(memory zero dirty-rate hot pattern cpu-bound curve vcpus busy shared-cpu phases flush devices
        storage link link-changes noise seed seeds limit for)
    local verb='' vm='' assigned='' words='' word value i
    local -a socket=()

    values+='|--on-deadline|--patience|--stall-timeout|--objective|--max-bandwidth|--order'
    values+='|--max-compression-cache|--deadline-per-gib|--ask-timeout|--precopy-iterations'
    values+='|--precopy-threshold|--aim-downtime|--on-other-writer'
    values+="|--${described[0]}$(printf '|--%s' "${described[@]:1}")"
    COMPREPLY=()
    # bash splits --flag=value into three words.
    if [[ $cur == '=' ]]; then
        cur='' assigned=1
    elif [[ $prev == '=' ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]} assigned=1
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]} value=''
        if [[ $word == -* ]]; then
            if [[ ${COMP_WORDS[i + 1]} == '=' ]]; then
                value=${COMP_WORDS[i + 2]}
                ((i += 2))
            elif [[ $word =~ ^($values)$ ]]; then
                value=${COMP_WORDS[++i]}
            fi
            [[ $word == --socket ]] && socket=(--socket "$value")
        elif [[ -z $verb ]]; then
            verb=$word
        else
            vm=$word
        fi
    done

    case $prev in
    --preset) words='observe gentle balanced must-finish never-slow' ;;
    --color) words='auto always never' ;;
    --mode) words='observe enforce' ;;
    --scope) words='host metadata' ;;
    --on-deadline) words='report cancel force' ;;
    --objective) words='least-loss gentle' ;;
    --on-other-writer) words='yield hold' ;;
    -o | --output) words='table json jsonl' ;;
    --pattern) words='random sequential' ;;
    -f | --file | --socket | --policy | --curve)
        _migpolicy_files "$cur"
        return
        ;;
    *)
        if [[ $assigned ]]; then
            [[ $prev == --allow-* ]] && words='yes ask no'
        elif [[ $prev =~ ^($values)$ ]]; then
            return
        elif [[ $cur == -* ]]; then
            words=$options
            [[ $verb =~ ^(status|unset|history|replay|simulate|approve|deny|help|predict|)$ ]] && words+=' --all'
            [[ $verb =~ ^(replay|simulate|predict)$ ]] && words+=' --policy'
            [[ $verb == predict ]] && words+=' --link'
            [[ $verb =~ ^(set|simulate|predict)$ ]] && words+=" ${fields[*]/#/--}"
            [[ $verb == watch ]] && words+=' --color'
            [[ $verb == pending ]] && words+=' --follow'
            [[ $verb == approve ]] && words+=' --max-work-lost'
            [[ $verb == wait ]] && words+=' --timeout'
            [[ $verb == apply ]] && words+=' --file --dry-run --ignore-missing --expected'
            [[ $verb == set ]] && words+=' --expires --runtime --scope --label --expected --dry-run'
            [[ $verb == show ]] && words+=' --changed'
            [[ $verb == overrides ]] && words+=' --prune'
            [[ $verb == unset ]] && words+=' --scope'
            [[ $verb == simulate ]] && words+=" ${described[*]/#/--} --plot --svg --auto-converge"
        elif [[ -z $verb || $verb == help ]]; then
            words=$verbs
        elif [[ $verb == unset && -n $vm ]]; then
            words=${fields[*]}
        elif [[ $verb == approve || $verb == deny ]]; then
            words=$(migpolicy "${socket[@]}" pending --json 2>/dev/null |
                sed -n 's/^ *"id": *\([0-9]*\),\{0,1\}$/\1/p; s/^ *"vm": *"\(.*\)",\{0,1\}$/\1/p')
        elif [[ $verb == check || $verb == replay ]]; then
            _migpolicy_files "$cur"
            [[ $verb == replay ]] && _migpolicy_vms "$cur"
            return
        elif [[ $verb == status || (! $verb =~ ^(version|simulate|apply|reload|pending|bridge|overrides)$ && -z $vm) ]]; then
            _migpolicy_vms "$cur"
            return
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _migpolicy migpolicy

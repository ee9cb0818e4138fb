# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for pciassignctl(1). Verbs and options come from its own help, so they are never out of date.

_pciassignctl_words() {
        # What follows the heading $1 in the help of the given arguments: the first word of each indented line.
        local heading=$1
        shift
        pciassignctl "$@" --help 2>/dev/null |
                sed -n "/^$heading/,/^\$/s/^  \\([-a-z=]*\\).*/\\1/p"
}

_pciassignctl_devices() {
        pciassignctl list --color=never 2>/dev/null | sed '1d; s/ .*//'
}

_pciassignctl_assignments() {
        pciassignctl list --assignments --color=never 2>/dev/null | sed '1d; s/ .*//'
}

_pciassignctl() {
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb='' word
        local -a verbs words

        # A device's address holds colons, at which the shell breaks words.
        if declare -F _get_comp_words_by_ref >/dev/null; then
                _get_comp_words_by_ref -n := -c current -p previous
        fi
        mapfile -t verbs < <(_pciassignctl_words Verbs)
        for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                [[ $word == -- ]] && return
                [[ -z $verb && " ${verbs[*]} " == *" $word "* ]] && verb=$word
        done
        if [[ $current == -* ]]; then
                # shellcheck disable=SC2086
                mapfile -t words < <(_pciassignctl_words Options $verb)
        elif [[ -z $verb ]]; then
                words=("${verbs[@]}")
        else
                case $verb in
                list | show | plan | assign | run | explain | reset | quarantine | unquarantine | adopt | restore | vfs) mapfile -t words < <(_pciassignctl_devices) ;;
                release | attach | open | events | acknowledge)
                        mapfile -t words < <(_pciassignctl_assignments; _pciassignctl_devices) ;;
                sim) words=(run advance inject clear hold unhold rebind override remove surprise-remove add error
                        attention fail-state lose-events) ;;
                policy) words=(check show explain reload schema keys replay); compopt -o default ;;
                snapshot) compopt -o default; return ;;
                esac
        fi
        mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$current")
        [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
        if declare -F __ltrim_colon_completions >/dev/null; then
                __ltrim_colon_completions "$current"
        fi
}

complete -F _pciassignctl pciassignctl

# bash completion for migfsctl(1)                                          -*- shell-script -*-
# SPDX-License-Identifier: GPL-2.0-or-later

# The usage lines of `migfsctl --help`: "status [--json] PATH...", …
_migfsctl_usage()
{
    migfsctl --help 2>/dev/null | sed -n 's/^[Uu ][a-z:]* *migfsctl \([a-z]\)/\1/p'
}

_migfsctl()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} usage

    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "$(_migfsctl_usage | cut -d ' ' -f 1 | uniq) --help --version" \
            -- "$current"))
        return
    fi
    usage=$(_migfsctl_usage | grep "^$command ")
    case $previous in
    --group) COMPREPLY=($(compgen -W "$(cd /proc && echo [0-9]*)" -- "$current")) ;;
    --uid) COMPREPLY=($(compgen -W "$(getent passwd | cut -d : -f 3)" -- "$current")) ;;
    --gid) COMPREPLY=($(compgen -W "$(getent group | cut -d : -f 3)" -- "$current")) ;;
    *)
        if [[ $current == -* ]]; then
            COMPREPLY=($(compgen -W "$(grep -o -e '--[a-z-]*' <<<"$usage")" -- "$current"))
        elif [[ $usage == *SOURCE* ]]; then
            compopt -o dirnames
        else
            compopt -o default
        fi
        ;;
    esac
} && complete -F _migfsctl migfsctl

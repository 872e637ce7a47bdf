# bash completion for migfs(8)                                             -*- shell-script -*-
# SPDX-License-Identifier: GPL-2.0-or-later

# What `migfs --help` lists: "io= daemon passthrough", "ro", …
_migfs_options()
{
    migfs --help 2>/dev/null | sed -n '
        /^Options after -o/,/^$/ {
            s/, or another number.*//
            s/, / /g
            s/ or / /
            s/^  \([a-z]\)/\1/p
        }
        /^Generic mount options/,/^$/ {
            s/^  *//
            s/[xX]-\*//g
            /:$/ !{ s/  */\n/g; p; }
        }'
}

# $1 is what is completed, with all that is before it in the list of -o.
_migfs_option_list()
{
    local list= word=$1 name values
    local -a candidates=()

    [[ $word == *,* ]] && list=${word%,*}, word=${word##*,}
    while read -r name values; do
        if [[ $word == *=* ]]; then
            [[ $name == "${word%%=*}=" ]] && candidates+=(${values/#/ })
        elif [[ -n $name ]]; then
            candidates+=("$name")
        fi
    done < <(_migfs_options)

    if [[ $word == *=* ]]; then
        COMPREPLY=($(compgen -W "${candidates[*]}" -- "${word#*=}"))
        # Where = does not break words, as it does by default, the word has what is before it.
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$list${word%%=*}=}")
    else
        COMPREPLY=($(compgen -W "${candidates[*]}" -- "$word"))
        [[ $list == *=* && $COMP_WORDBREAKS == *=* ]] && list=${list##*=}
        COMPREPLY=("${COMPREPLY[@]/#/$list}")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}

_migfs()
{
    # Words as the shell has them, not as readline breaks them at = and so on.
    local line=${COMP_LINE:0:COMP_POINT}
    local current=${line##* }
    local before=${line%"$current"}

    COMPREPLY=()
    if [[ $before =~ [[:space:]]-o[[:space:]]+$ ]]; then
        _migfs_option_list "$current"
    elif [[ $current == -o?* ]]; then
        :
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "-f -d -o -h --help -V --version" -- "$current"))
    else
        compopt -o dirnames
    fi
} && complete -F _migfs migfs

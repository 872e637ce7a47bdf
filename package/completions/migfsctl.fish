# fish completion for migfsctl(1)
# SPDX-License-Identifier: GPL-2.0-or-later

# The usage lines of `migfsctl --help`: "status [--json] PATH...", …
function __migfsctl_usage
    migfsctl --help 2>/dev/null | sed -n 's/^[Uu ][a-z:]* *migfsctl \([a-z]\)/\1/p'
end

# Whether the command on the line takes what is named, as --json.
function __migfsctl_takes
    set -l words (commandline -opc)
    test (count $words) -gt 1
    and __migfsctl_usage | string match -q -- "$words[2] *$argv[1]*"
end

complete -c migfsctl -f
complete -c migfsctl -n 'not __migfsctl_takes ""' -a '(__migfsctl_usage | string replace -r " .*" "")'
complete -c migfsctl -n 'not __migfsctl_takes ""' -l help -d 'Print a short help'
complete -c migfsctl -n 'not __migfsctl_takes ""' -l version -d 'Print the version'
complete -c migfsctl -n '__migfsctl_takes PATH' -F
complete -c migfsctl -n '__migfsctl_takes SOURCE' -a '(__fish_complete_directories (commandline -ct))'
complete -c migfsctl -n '__migfsctl_takes --json' -l json -d 'Print JSON'
complete -c migfsctl -n '__migfsctl_takes --follow' -l follow -d 'Look again every second'
complete -c migfsctl -n '__migfsctl_takes --openmetrics' -l openmetrics -d 'Print OpenMetrics, or with =FILE write them'
complete -c migfsctl -n '__migfsctl_takes --plot' -l plot -r -F -d 'Draw a hand-over'
complete -c migfsctl -n '__migfsctl_takes --generation' -l generation -x -d 'Which hand-over'
complete -c migfsctl -n '__migfsctl_takes --group' -l group -x -d 'Files that a process opened' -a '(__fish_complete_pids)'
complete -c migfsctl -n '__migfsctl_takes --uid' -l uid -x -d 'The owner' -a '(getent passwd | cut -d : -f 3)'
complete -c migfsctl -n '__migfsctl_takes --gid' -l gid -x -d 'The group' -a '(getent group | cut -d : -f 3)'

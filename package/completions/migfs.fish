# fish completion for migfs(8)
# SPDX-License-Identifier: GPL-2.0-or-later

# What `migfs --help` lists, each with each of its values: "io=daemon", "ro", …
function __migfs_options
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
        }' | while read --local --list words
        if test (count $words) -gt 1
            printf '%s\n' $words[1]$words[2..-1]
        else
            printf '%s\n' $words
        end
    end
end

complete -c migfs -f -a '(__fish_complete_directories (commandline -ct))'
complete -c migfs -s f -d 'Stay in the foreground, log to standard error'
complete -c migfs -s d -d 'As -f, and print every request'
complete -c migfs -s h -l help -d 'Print a summary of the options'
complete -c migfs -s V -l version -d 'Print the versions of migfs and libfuse'
complete -c migfs -s o -x -d 'Mount options' -a '(__fish_complete_list , __migfs_options)'

# SPDX-License-Identifier: GPL-2.0-or-later
#
# zsh -f complete.zsh DIRECTORY LINE: prints what zsh completes LINE to with the functions in
# DIRECTORY, a candidate a line.

zmodload zsh/zpty || exit
zpty shell zsh -f -i

# compadd is the one way to offer something: it is asked for the words that match, and adds them.
zpty -w shell "
PS1= PS2= RPS1=
stty -echo 2>/dev/null
fpath=(${(q)1} \$fpath)
autoload -Uz compinit && compinit -u -D
zstyle ':completion:*' list-colors ''
unsetopt list_beep beep auto_menu
compadd () {
    if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd \"\$@\"
        return
    fi
    local -a offered
    builtin compadd -A offered \"\$@\"
    print -rl -- '<'\${^offered}'>'
    builtin compadd \"\$@\"
}
finished () { print '<''/''>' }
zle -N finished
bindkey '^X' finished
bindkey '^I' complete-word
print '<''ready''>'
"
wait_for() {
    local text chunk
    while [[ $text != *"$1"* ]]; do
        zpty -r shell chunk || break
        text+=$chunk
    done
    print -r -- $text
}
wait_for '<ready>' >/dev/null
zpty -w -n shell "$2"$'\t'$'\C-X'
wait_for '</>' | tr -d '\r' | grep -o '<[^<>]*>' | tr -d '<>' | grep -v '^/\?$'
zpty -d shell

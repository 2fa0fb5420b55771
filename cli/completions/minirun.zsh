#compdef minirun
# zsh completion for minirun

_minirun() {
    local -a candidates
    local name text files
    while IFS=$'\t' read -r name text; do
        if [[ $name == :files ]]; then
            files=1
        else
            candidates+=("${name//:/\\:}${text:+:$text}")
        fi
    done < <(minirun __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#candidates )) && _describe minirun candidates
    [[ -n $files ]] && _files
}

if [[ $funcstack[1] == _minirun ]]; then
    _minirun "$@"
else
    compdef _minirun minirun
fi

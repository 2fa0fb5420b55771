#compdef minirun
# zsh completion for minirun

_minirun() {
    local -a candidates open
    local name text files prefix
    while IFS=$'\t' read -r name text; do
        if [[ $name == :files ]]; then
            files=1 prefix=$text
        elif [[ $name == *[=:/] ]]; then
            open+=("${name//:/\\:}${text:+:$text}")
        else
            candidates+=("${name//:/\\:}${text:+:$text}")
        fi
    done < <(minirun __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    (( $#open )) && _describe minirun open -S ''
    (( $#candidates )) && _describe minirun candidates
    if [[ -n $files ]]; then
        compset -p $#prefix # paths begin after it
        _files
    fi
}

if [[ $funcstack[1] == _minirun ]]; then
    _minirun "$@"
else
    compdef _minirun minirun
fi

# bash completion for minirun

# sets words to those of a line, of which the last may be empty: blanks after a \ and in
# quotes are a part of a word
_minirun_split() {
    local rest=$1 quote='' char
    words=("")
    while [[ -n $rest ]]; do
        char=${rest:0:1} rest=${rest:1}
        case $quote$char in
        [[:space:]]) [[ -n ${words[-1]} ]] && words+=("") ;;
        [\'\"]) quote=$char ;;
        "''" | '""') quote='' ;;
        \\ | \"\\)
            words[-1]+=${rest:0:1} rest=${rest:1}
            ;;
        *) words[-1]+=$char ;;
        esac
    done
}

_minirun() {
    local line=${COMP_LINE:0:COMP_POINT} words=() cur name prefix file
    _minirun_split "$line"
    cur=${words[-1]}
    # bash replaces only what follows the last : or =, or begins with the last @
    local before=${cur%"${cur##*[:=]}"}
    [[ ${cur#"$before"} == *@* ]] && before=${cur%@*}
    COMPREPLY=()
    while IFS=$'\t' read -r name prefix; do
        case $name in
        :files) # paths, after a prefix of the word
            compopt -o filenames
            while IFS= read -r file; do
                file=$prefix$file
                COMPREPLY+=("${file#"$before"}")
            done < <(compgen -f -- "${cur#"$prefix"}")
            ;;
        *)
            [[ $name == *[=:/] ]] && compopt -o nospace
            [[ $name == *[[:space:]]* ]] && compopt -o filenames # bash then writes \ before a blank
            COMPREPLY+=("${name#"$before"}")
            ;;
        esac
    done < <(minirun __complete -- "${words[@]:1}" 2>/dev/null)
}

complete -F _minirun minirun

# bash completion for minirun

_minirun() {
    local line=${COMP_LINE:0:COMP_POINT} words=() cur name prefix file
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
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
            COMPREPLY+=("${name#"$before"}")
            ;;
        esac
    done < <(minirun __complete -- "${words[@]:1}" 2>/dev/null)
}

complete -F _minirun minirun

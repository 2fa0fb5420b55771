# bash completion for minirun

_minirun() {
    local line=${COMP_LINE:0:COMP_POINT} words=() cur name file
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cur=${words[-1]}
    # bash replaces only what follows the last : or =, or begins with the last @
    local before=${cur%"${cur##*[:=]}"}
    [[ ${cur#"$before"} == *@* ]] && before=${cur%@*}
    COMPREPLY=()
    while IFS=$'\t' read -r name _; do
        case $name in
        :files)
            compopt -o filenames
            while IFS= read -r file; do
                COMPREPLY+=("$file")
            done < <(compgen -f -- "${cur#"$before"}")
            ;;
        *)
            [[ $name == *= ]] && compopt -o nospace
            COMPREPLY+=("${name#"$before"}")
            ;;
        esac
    done < <(minirun __complete -- "${words[@]:1}" 2>/dev/null)
}

complete -F _minirun minirun

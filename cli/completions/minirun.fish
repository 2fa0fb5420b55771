# fish completion for minirun

function __minirun_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    for line in (minirun __complete -- $words[2..] "$cur" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$cur"
        else
            printf '%s\n' $line
        end
    end
end

complete -c minirun -f -a '(__minirun_complete)'

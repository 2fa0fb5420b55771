# fish completion for minirun

function __minirun_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l plain (string unescape -- "$cur")
    and set cur "$plain"
    for line in (minirun __complete -- $words[2..] "$cur" 2>/dev/null)
        set -l parts (string split -m 1 \t -- "$line")
        if test "$parts[1]" = :files # paths, after a prefix of the word
            set -l rest (string sub -s (math (string length -- "$parts[2]") + 1) -- "$cur")
            for path in "$rest"* # __fish_complete_path takes plain text before fish 3.7, and escaped text since
                test -d "$path"; and set path "$path/"
                printf '%s%s\n' "$parts[2]" "$path"
            end
        else
            printf '%s\n' $line
        end
    end
end

complete -c minirun -f -a '(__minirun_complete)'

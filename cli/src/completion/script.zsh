#compdef bunq-partner
# Completion of bunq-partner in zsh. The program says what a word may become.

_bunq-partner() {
    local program=bunq-partner kind prefix line value
    local -a answer whole unfinished
    [[ $words[1] == */* ]] && program=${~words[1]}
    answer=("${(@f)$("$program" completions zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
    kind=${answer[1]%% *}
    prefix=${answer[1]#* }
    shift answer
    compset -p $#prefix
    case $kind in
        files) _files ;;
        folders) _files -/ ;;
        values)
            for line in $answer; do
                value=${${line%%$'\t'*}//:/\\:}
                line=$value:${line#*$'\t'}
                # A value follows what ends in `=`, without a space.
                if [[ $value == *= ]]; then unfinished+=($line); else whole+=(${line%:}); fi
            done
            # Statuses may be typed in lower case.
            _describe -t values value whole -M 'm:{[:lower:]}={[:upper:]}' -- unfinished -S ''
            ;;
        *) return 1 ;;
    esac
}

# In a folder of functions, the first call loads this file, and completes too.
if [[ $funcstack[1] == _bunq-partner ]]; then
    _bunq-partner "$@"
else
    compdef _bunq-partner bunq-partner
fi

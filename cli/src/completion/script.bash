# Completion of bunq-partner in bash 4 and later. The program says what a word may become.

_bunq_partner() {
    COMPREPLY=()
    # bash ends words at `=`, `:` and `@` too. What stands together in the line is one word.
    local line=${COMP_LINE:0:COMP_POINT} words=() rest word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && word=$rest
        if ((i > 0)) && [[ $rest == "$line" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${rest:${#word}}
    done
    if [[ ${COMP_WORDS[COMP_CWORD - 1]} == *[\<\>]* ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    # Without the quotes, as the program will get them.
    words=("${words[@]//[\"\'\\]/}")
    word=${words[${#words[@]} - 1]}

    local program=bunq-partner kind prefix value
    [[ ${words[0]} == */* ]] && program=${words[0]/#\~\//"$HOME"/}
    # bash replaces what it takes for the word: the end of it, from here.
    local start=$((${#word} - ${#2}))
    {
        # Without an answer it fails, which would end a shell with `set -e`.
        IFS=' ' read -r kind prefix || true
        while IFS=$'\t' read -r value _; do
            value=$prefix$value
            COMPREPLY+=("${value:start}")
        done
    } < <("$program" completions bash -- "${words[@]:1}" 2>/dev/null </dev/null)
    case $kind in
        values) [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null ;;
        files) _bunq_partner_paths default file ;;
        folders) _bunq_partner_paths dirnames directory ;;
    esac
}

# Paths are left to bash. It does not look behind an `@`.
_bunq_partner_paths() {
    local before=${prefix:start} path
    if [[ -z $before ]]; then
        compopt -o "$1" 2>/dev/null
        return
    fi
    while IFS= read -r path; do
        COMPREPLY+=("$before$path")
    done < <(compgen -A "$2" -- "${word:${#prefix}}")
    compopt -o filenames 2>/dev/null
}

complete -F _bunq_partner bunq-partner

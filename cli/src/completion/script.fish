# Completion of bunq-partner in fish. The program says what a word may become.

function __bunq_partner_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l token (commandline --current-token --cut-at-cursor)
    set -l word (string trim --left --chars "\"'" -- $token)
    # Variables may be set before the program.
    while string match --quiet --regex '^\w+=' -- $words[1]
        set --erase words[1]
    end
    set -l program bunq-partner
    if string match --quiet '*/*' -- $words[1]
        set program (string replace --regex '^~(?=/)' $HOME -- $words[1])
    end
    set --erase words[1]
    command --query $program
    or return
    set -l answer (command $program completions fish -- $words "$word" 2>/dev/null </dev/null)
    set -l first (string split --max 1 ' ' -- $answer[1])
    set -l kind $first[1]
    set -l prefix "$first[2]"
    # Paths are left to fish, which completes them for commands that it does not know.
    set -l path (string replace -- $prefix '' $token)
    switch "$kind"
        case values
            printf '%s\n' $prefix$answer[2..]
        case files
            printf '%s\n' $prefix(complete --do-complete "'' $path")
        case folders
            printf '%s\n' $prefix(complete --do-complete "'' $path" | string match --regex --entire '/(\t|$)')
    end
end

complete --command bunq-partner --no-files --arguments '(__bunq_partner_complete)'

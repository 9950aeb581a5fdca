# Offers the names of the tools on this machine beside what `_[PROGRAM]` offers, and leaves to the
# tool what stands after its name. Nothing of the line is expanded, and nobody is asked but the
# program on the PATH: the one that is being typed may be somebody else's.
_[PROGRAM]_and_tools() {
    local cur="$2" at=1 word server="" name
    local -a named
    named=()
    _[PROGRAM] "$@"
    # Bash takes `deploy@1.4` for three words, and no version is the name of a tool.
    if [[ "${COMP_WORDS[COMP_CWORD]}" == @* || "${COMP_WORDS[COMP_CWORD - 1]}" == "@" ]]; then
        COMPREPLY=()
        return 0
    fi
    while [[ "${at}" -lt "${COMP_CWORD}" ]]; do
        word="${COMP_WORDS[at]}"
        at=$((at + 1))
        # `-osother` is `-o -s other`.
        while [[ "${word}" == -[oV]?* ]]; do
            word="-${word:2}"
        done
        case "${word}" in
            --)
                [[ "${#named[@]}" -eq 0 ]] || continue
                COMPREPLY=()
                [[ "${at}" -eq "${COMP_CWORD}" ]] || return 0
                ;;
            -s | --server | -v | --toolversion)
                [[ "${COMP_WORDS[at]-}" == "=" ]] && at=$((at + 1))
                case "${word}" in
                    -s | --server) server="${COMP_WORDS[at]-}" ;;
                esac
                at=$((at + 1))
                ;;
            --server=*) server="${word#--server=}" ;;
            -s*)
                server="${word#-s}"
                server="${server#=}"
                ;;
            -*) ;;
            *) named+=("${word}") ;;
        esac
    done
    if [[ "${#named[@]}" -gt 0 ]]; then
        case "${named[0]} ${named[1]-}" in
            [MANY]) ;;
            [NESTED])
                [[ "${#named[@]}" -eq 2 ]] || return 0
                ;;
            "[RUN] "*)
                if [[ "${#named[@]}" -gt 1 ]]; then
                    COMPREPLY=()
                    return 0
                fi
                ;;
            [ONE])
                [[ "${#named[@]}" -eq 1 ]] || return 0
                ;;
            [OTHERS])
                return 0
                ;;
            *)
                COMPREPLY=()
                return 0
                ;;
        esac
    fi
    # What is typed is the value of a flag: no command, and no tool.
    if [[ "${at}" -gt "${COMP_CWORD}" ]]; then
        COMPREPLY=()
        return 0
    fi
    [[ "${cur}" != -* ]] || return 0
    while IFS= read -r name; do
        [[ "${name}" == "${cur}"* ]] && COMPREPLY+=("${name}")
    done < <(command [PROGRAM] ${server:+-s "${server}"} completions --tools 2>/dev/null </dev/null)
    return 0
}


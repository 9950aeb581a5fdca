(( $+functions[_[PROGRAM]_tools] )) ||
_[PROGRAM]_tools() {
    local -a server tools
    local named="${opt_args[-s]:-${opt_args[--server]:-$server_before}}"
    [[ -n "$named" ]] && server=(-s "${(Q)named}")
    tools=(${(f)"$(command [PROGRAM] $server completions --tools 2>/dev/null </dev/null)"})
    (( $#tools )) && _describe -t tools '[PROGRAM] tools' tools
}
(( $+functions[_[PROGRAM]_commands_and_tools] )) ||
_[PROGRAM]_commands_and_tools() {
    local ret=1
    _[PROGRAM]_commands && ret=0
    _[PROGRAM]_tools && ret=0
    return ret
}


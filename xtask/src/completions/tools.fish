
# The names of the tools on this machine.
function __fish_[PROGRAM]_tools
    set -l cmd (commandline -opc)
    set -e cmd[1]
    # After the command's name, too, and beside flags that it alone has.
    argparse -i (__fish_[PROGRAM]_global_optspecs) -- $cmd 2>/dev/null
    set -l server
    set -q _flag_server
    and set server -s $_flag_server
    command [PROGRAM] $server completions --tools 2>/dev/null </dev/null
end

# Whether this command is being typed, and its tool is what comes next. What stands after it is no
# tool: that of `[RUN]` gets it as it is.
function __fish_[PROGRAM]_awaits_tool
    set -l cmd (commandline -opc)
    set -e cmd[1]
    set -l awaiting $argv
    argparse -i (__fish_[PROGRAM]_global_optspecs) -- $cmd 2>/dev/null
    set -l named (string match -v -- '-*' $argv)
    test "$named" = "$awaiting"
end

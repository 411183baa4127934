# Sends a signal to a command's process group; on a terminal to the one in the
# foreground, as the terminal's own keys do.
#   $1  the process that leads the command's session   $2  the signal's name
unset SERO_SCRIPT
{ read -r line <"/proc/$1/stat"; } 2>/dev/null || exit 0
leader=$1 name=$2
set -- ${line##*) } # state, parent, group, session, terminal, foreground group
group=$leader
[ "$5" = 0 ] || [ "$6" -le 1 ] || group=$6
kill -s "$name" -- "-$group"

# Runs a command and tells how it goes on the command's own output, in lines that
# begin with a mark which only the driver knows:
#   MARK:dir            there is no such directory
#   MARK:127, MARK:126  there is no such command, or it cannot be executed
#   MARK:P:C            the command begins, as process C in the session of process P
#   MARK:e7, MARK:s9    the command has ended: exit code 7, or died from signal 9
# The last one comes on both outputs, after all that the command wrote.
unset SERO_SCRIPT
mark=$1 dir=$2 rows=$3 cols=$4
shift 4
say() { printf '%s:%s\n' "$mark" "$1"; }

cd "$dir" 2>/dev/null || { say dir; exit; }
found=127
case $1 in
*/*)
	if [ -f "$1" ] && [ -x "$1" ]; then found=0; elif [ -e "$1" ]; then found=126; fi
	;;
*)
	set -f
	IFS=:
	for path in $PATH; do
		[ -f "${path:-.}/$1" ] || continue
		if [ -x "${path:-.}/$1" ]; then found=0; break; fi
		found=126
	done
	unset IFS
	;;
esac
[ "$found" = 0 ] || { say "$found"; exit; }
[ "$rows" = 0 ] || stty rows "$rows" cols "$cols" 2>/dev/null

# What is sent to the command's process group is not for the shells that wait for
# it. A trap, unlike an ignored signal, is not inherited.
signals='1 2 3 4 5 6 7 8 10 11 12 13 14 15 16 24 25 26 27 29 30 31'
trap : $signals
exec 3>&1 4>&2
# A shell writes to its standard error when a child has died from a signal; its
# exit code alone would not tell that from an exit with the same code.
end=$(
	trap : $signals
	exec 2>&1
	sh -c 'printf "%s:%s\n" "$0" "$$" >&3; exec "$@" >&3 2>&4 3>&- 4>&-' "$mark:$$" "$@"
	echo ":$?"
)
code=${end##*:}
if [ -z "${end%:*}" ]; then end=e$code; else end=s$((code - 128)); fi
say "$end" >&3
[ "$rows" != 0 ] || say "$end" >&4

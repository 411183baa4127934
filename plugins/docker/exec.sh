# Runs a command and tells how it goes on the command's own output, in lines that
# begin with a mark which only the driver knows:
#   MARK:dir            there is no such directory
#   MARK:127, MARK:126  there is no such command, or it cannot be executed
#   MARK:P:C            the command begins, as process C in the session of process P
#   MARK:e7, MARK:s9    the command has ended: exit code 7, or died from signal 9
#   MARK:s9m, MARK:e137m  and the kernel has killed for memory meanwhile
# The last one comes on both outputs, after all that the command wrote.
# What it sets may not be called as a variable of the command's: that would be changed.
unset SERO_SCRIPT
sero_mark=$1 sero_dir=$2 sero_rows=$3 sero_cols=$4
shift 4
say() { printf '%s:%s\n' "$sero_mark" "$1"; }

cd "$sero_dir" 2>/dev/null || { say dir; exit; }
sero_found=127
case $1 in
*/*)
	if [ -f "$1" ] && [ -x "$1" ]; then sero_found=0; elif [ -e "$1" ]; then sero_found=126; fi
	;;
*)
	set -f
	IFS=:
	for sero_path in $PATH; do
		[ -f "${sero_path:-.}/$1" ] || continue
		if [ -x "${sero_path:-.}/$1" ]; then sero_found=0; break; fi
		sero_found=126
	done
	unset IFS
	;;
esac
[ "$sero_found" = 0 ] || { say "$sero_found"; exit; }
# sero_count sets sero_kills to how often the kernel has killed for memory here.
sero_count() {
	sero_kills=''
	for sero_file in /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events; do
		[ -r "$sero_file" ] || continue
		while read -r sero_name sero_value; do [ "$sero_name" != oom_kill ] || sero_kills=$sero_value; done <"$sero_file"
	done
}
sero_count
sero_before=$sero_kills
[ "$sero_rows" = 0 ] || stty rows "$sero_rows" cols "$sero_cols" 2>/dev/null

# What is sent to the command's process group is not for the shells that wait for
# it. A trap, unlike an ignored signal, is not inherited.
sero_signals='1 2 3 4 5 6 7 8 10 11 12 13 14 15 16 24 25 26 27 29 30 31'
trap : $sero_signals
exec 3>&1 4>&2
# A shell writes to its standard error when a child has died from a signal; its
# exit code alone would not tell that from an exit with the same code.
sero_end=$(
	trap : $sero_signals
	exec 2>&1
	sh -c 'printf "%s:%s\n" "$0" "$$" >&3; exec "$@" >&3 2>&4 3>&- 4>&-' "$sero_mark:$$" "$@"
	echo ":$?"
)
sero_code=${sero_end##*:}
if [ -z "${sero_end%:*}" ]; then sero_end=e$sero_code; else sero_end=s$((sero_code - 128)); fi
if [ "$sero_code" = 137 ]; then
	sero_count
	[ "$sero_kills" = "$sero_before" ] || sero_end=${sero_end}m
fi
say "$sero_end" >&3
[ "$sero_rows" != 0 ] || say "$sero_end" >&4

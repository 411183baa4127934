# Runs one command. Its standard input begins with a line of shell code that says
# what to run; the rest is the command's. What it tells the driver stands among
# the output, marked with a number that nobody can guess: R ready to be told,
# S<pid> started, D no such directory, N126 or N127 no such command, E<code> or
# K<code> ended by itself or by a signal, S and Z on standard error for its
# beginning and end. It goes on until the driver closes its input, or for a second
# if that was the command's and had ended: so nothing that was written is lost with
# the process that wrote it. MARK stands on a line of its own, for that is what
# busybox's grep can find on a command line.
_s_k=MARK
_s_n='
' _s_stop='HUP INT QUIT USR1 USR2 PIPE ALRM TERM'
_s_say() { printf '\036sero:%s:%s;' "$_s_k" "$1"; }
_s_look() {
	case $1 in
	*/*) _s_f=$1
		[ -e "$_s_f" ] || return 127
		[ -f "$_s_f" ] && [ -x "$_s_f" ] || return 126
		return 0 ;;
	esac
	_s_r=127 _s_i=$IFS IFS=:
	set -f
	for _s_p in $PATH; do
		_s_f=${_s_p:-.}/$1
		if [ -f "$_s_f" ]; then
			if [ -x "$_s_f" ]; then _s_r=0; break; fi
			_s_r=126
		fi
	done
	set +f
	IFS=$_s_i
	return $_s_r
}
_s_child() {
	_s_env
	cd -- "$_s_dir" 2>/dev/null || { _s_say D >&4; exit 126; }
	unset OLDPWD
	_s_look "$1" || { _s_r=$?; _s_say "N$_s_r" >&4; exit $_s_r; }
	case $1 in -*) shift; set -- "$_s_f" "$@" ;; esac
	read -r _s_p _s_r </proc/self/stat
	_s_say "S$_s_p" >&4
	[ "$_s_tty" ] || _s_say S >&5
	[ "$_s_in" ] || exec 3</dev/null
	exec $_s_setsid "$@" <&3 >&4 2>&5 3<&- 4>&- 5>&-
}
_s_run() {
	trap : $_s_stop
	( _s_child "$@" )
	echo " $?"
}
_s_report() {
	trap '' $_s_stop # a signal would end its read
	_s_m=
	while IFS= read -r _s_l; do _s_m=$_s_m$_s_l; done
	case $_s_m in
	' '*) _s_say "E${_s_m##* }" >&4 ;;
	*) _s_say "K${_s_m##* }" >&4 ;;
	esac
	[ "$_s_tty" ] || _s_say Z >&5
}
_s_main() {
	exec 3<&0 4>&1 5>&2
	trap : $_s_stop
	_s_run "$@" 2>&1 | _s_report
	if [ "$_s_tty" ]; then
		trap '' TTIN TTOU
		stty raw -echo min 0 time 100 <&3 2>/dev/null
		IFS= read -r _s_l <&3
	else
		cat <&3 >/dev/null
		[ -z "$_s_in" ] || sleep 1
	fi
}
_s_relay() {
	trap '' HUP INT QUIT TERM
	cat 2>/dev/null
	exec cat >/dev/null
}
if [ -t 0 ]; then
	stty raw -echo
	_s_say R
fi
IFS= read -r _s_h || exit 125
eval "$_s_h"
if [ "$_s_tty" ]; then
	stty sane rows "$_s_rows" cols "$_s_cols"
	_s_setsid=
else
	_s_setsid=$(command -v setsid)
fi
if [ "$_s_detach" ]; then
	exec 7>&2 8>&1
	{ _s_main "$@" 2>&1 >&6 6>&- 7>&- 8>&- | _s_relay >&7 6>&- 7>&- 8>&-; } 6>&1 | _s_relay >&8 7>&- 8>&-
else
	_s_main "$@"
fi

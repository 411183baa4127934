# Sends the signal $1 to the process group of command $2, or with $3 to the one in
# the foreground of its terminal. The shells around the command, which carry the
# mark SERO_END on their command lines, are left out where they are in the group.
{ read -r _l <"/proc/$2/stat"; } 2>/dev/null || exit 0
_sig=$1 _pid=$2 _tty=$3
set -- ${_l##*) }
_group=$3
[ -z "$_tty" ] || [ "$6" -le 1 ] || _group=$6
if [ "$_group" = "$_pid" ]; then
	kill -s "$_sig" -- "-$_group"
	exit 0
fi
_shells=' '
for _f in $(grep -lF -e "$SERO_END" /proc/[0-9]*/cmdline 2>/dev/null); do
	_f=${_f#/proc/} _shells="$_shells${_f%/*} "
done
for _f in /proc/[0-9]*/stat; do
	{ read -r _l <"$_f"; } 2>/dev/null || continue
	_p=${_l%% *}
	set -- ${_l##*) }
	[ "$3" = "$_group" ] || continue
	case $_shells in *" $_p "*) ;; *) kill -s "$_sig" "$_p" ;; esac
done 2>/dev/null
exit 0

# Ends a command and all that descends from it: $1 is the polite signal, $2 how
# many steps of 50 ms to wait before SIGKILL, $3 the command, if it is known which
# it is. SERO_END is the command's mark: it is on the command line of the shells
# around the command, and in the environment of what it started.
_polite=$1 _steps=$2 _pid=$3 _seen=" $3 "
scan() {
	_shells=' ' _gone=' ' _all=$_seen
	for _f in $(grep -lF -e "$SERO_END" /proc/[0-9]*/cmdline 2>/dev/null); do
		_f=${_f#/proc/} _shells="$_shells${_f%/*} "
	done
	for _f in $(grep -lF -e "SERO_EXEC=$SERO_END" /proc/[0-9]*/environ 2>/dev/null); do
		_f=${_f#/proc/} _all="$_all${_f%/*} "
	done
	# Without a command that is known, the shells may be about to start it.
	[ "$_pid" ] || _all=$_all$_shells _shells=' '
	_more=1 _alive=' '
	while [ "$_more" ]; do
		_more=
		for _f in /proc/[0-9]*/stat; do
			{ read -r _l <"$_f"; } 2>/dev/null || continue
			_p=${_l%% *}
			set -- ${_l##*) }
			case $_alive$_gone in *" $_p "*) continue ;; esac
			case $_all in
			*" $_p "*) ;;
			*)
				case $_shells in *" $_p "*) continue ;; esac
				case $_all in *" $2 "* | *" $4 "*) ;; *) continue ;; esac
				_all="$_all$_p "
				;;
			esac
			_more=1
			case $1 in
			[ZX]) _gone="$_gone$_p " ;;
			*) _alive="$_alive$_p " ;;
			esac
		done
	done
	_seen=$_all
	[ "$_alive" != ' ' ]
}
if scan; then
	kill -s "$_polite" $_alive 2>/dev/null
	kill -s CONT $_alive 2>/dev/null
fi
_i=0
while scan && [ $_i -lt "$_steps" ]; do
	sleep 0.05
	_i=$((_i + 1))
done
_i=0
while scan && [ $_i -lt 100 ]; do
	kill -s KILL $_alive 2>/dev/null
	sleep 0.02
	_i=$((_i + 1))
done
# What has ended is there until its parent has noticed.
_i=0
while [ "$_gone" != ' ' ] && [ $_i -lt 25 ]; do
	sleep 0.02
	scan
	_i=$((_i + 1))
done
exit 0

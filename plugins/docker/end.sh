# Ends processes: those of one command, or all of the container but its init and
# main process. Asks with SIGTERM, on a terminal with SIGHUP, and kills what is
# left when the grace time has passed.
#   $1  the process that leads the command's session, "all", or "none"
#   $2  what the command's processes have in their environment
#   $3  the grace time, in steps of 50 ms
unset SERO_SCRIPT
leader=$1 mark=$2 steps=$3
self=$$

# look sets found to the processes that are meant; hangup and term are those of
# them with and without a terminal.
look() {
	found='' hangup='' term='' more=1
	marked=" $(grep -ls "SERO_EXEC=$mark" /proc/[0-9]*/environ 2>/dev/null | tr -c '0-9' ' ') "
	while [ "$more" ]; do
		more=''
		for stat in /proc/[0-9]*/stat; do
			pid=${stat#/proc/}
			pid=${pid%/stat}
			case " $found " in *" $pid "*) continue ;; esac
			{ read -r line <"$stat"; } 2>/dev/null || continue
			set -- ${line##*) } # state, parent, group, session, terminal; threads are the 18th
			# A zombie has ended, unless other threads of it go on.
			case $1${18:-1} in Z[01] | X* | x*) continue ;; esac
			if [ "$leader" = all ]; then
				[ "$4" != 1 ] && [ "$4" != "$self" ] || continue
			elif [ "$pid" != "$leader" ] && [ "$4" != "$leader" ]; then
				case " $found " in *" $2 "*) ;; *)
					case "$marked" in *" $pid "*) ;; *) continue ;; esac
					;;
				esac
			fi
			found="$found $pid" more=1
			if [ "$5" = 0 ]; then term="$term $pid"; else hangup="$hangup $pid"; fi
		done
	done
}

# again looks once more, and tells whether anything is left. A process may start
# another behind the back of one look and end.
again() {
	look
	[ "$found" ] || look
	[ "$found" ]
}

look
[ -z "$term" ] || kill -s TERM $term 2>/dev/null
[ -z "$hangup" ] || kill -s HUP $hangup 2>/dev/null
[ -z "$found" ] || kill -s CONT $found 2>/dev/null
step=0
while again && [ "$step" -lt "$steps" ]; do
	sleep 0.05 || sleep 1
	step=$((step + 1))
done
step=0
while [ "$found" ] && [ "$step" -lt 40 ]; do
	kill -s KILL $found 2>/dev/null
	sleep 0.02 || sleep 1
	step=$((step + 1))
	again
done

# Lists the commands that run, one line each: the process that leads its session,
# whose it is (uid:gid), and what the driver calls it.
unset SERO_SCRIPT
for cmdline in $(grep -ls 'sero-exec-[0-9]' /proc/[0-9]*/cmdline 2>/dev/null); do
	pid=${cmdline#/proc/}
	pid=${pid%/cmdline}
	[ "$pid" != "$$" ] || continue
	called=$(tr '\0' '\n' <"$cmdline" 2>/dev/null | grep '^sero-exec-[0-9]')
	uid='' gid=''
	while read -r name value rest; do
		case $name in Uid:) uid=$value ;; Gid:) gid=$value ;; esac
	done <"/proc/$pid/status"
	{ read -r line <"/proc/$pid/stat"; } 2>/dev/null || continue
	set -- ${line##*) } # state, parent, group, session
	[ -z "$called" ] || echo "$4 $uid:$gid $called"
done

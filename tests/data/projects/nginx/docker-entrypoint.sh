#!/bin/sh
# vim:sw=4:ts=4:et
set -e

say() { [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$0: $*"; }

if [ "$1" = "nginx" ]; then
    for each in $(find /docker-entrypoint.d/ -follow -type f | sort -V); do
        case "$each" in
            *.envsh) say "Sourcing $each"; . "$each" ;;
            *.sh) [ -x "$each" ] && { say "Launching $each"; "$each"; } || say "Ignoring $each, not executable" ;;
            *) say "Ignoring $each" ;;
        esac
    done
    echo "$GREETING" >/usr/share/nginx/html/greeting.txt
    say "Configuration complete; ready for start up"
fi

exec "$@"

#!/usr/bin/env bash
set -Eeo pipefail

if [ "$(id -u)" = '0' ]; then
	find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
	chmod 00700 "$PGDATA"
	exec gosu postgres "$BASH_SOURCE" "$@"
fi

docker-enforce-initdb.sh
if [ "$1" = 'postgres' ]; then
	psql 'select name from people order by name'
	echo "$LANG as $(id -un), $(stat -c %a "$PGDATA")"
	exit
fi
exec "$@"

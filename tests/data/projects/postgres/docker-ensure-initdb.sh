#!/usr/bin/env bash
set -Eeuo pipefail

[ ! -s "$PGDATA/base" ] || exit 0
for f in /docker-entrypoint-initdb.d/*; do
	case "$f" in
		*.sh) . "$f" ;;
		*.sql) psql < "$f" ;;
		*) echo >&2 "ignoring $f" ;;
	esac
done

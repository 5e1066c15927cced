#!/bin/sh
# Has cron make a backup every night and practise a restore every Sunday, at times of UTC. For a machine of its own that
# has the private age key: a server makes backups by itself. Run again, it replaces its own lines and no others.
#
#   scripts/setup-cron.sh [--dry-run] [file with the environment]
set -eu
cd "$(dirname "$0")/.."

dry_run=no
[ "${1:-}" = --dry-run ] && { dry_run=yes; shift; }
environment=${1:-/etc/rhone/backup.env}

line() {
  printf "%s set -a; . '%s'; set +a; exec '%s/scripts/%s' # rhone\n" "$1" "$environment" "$PWD" "$2"
}
# cron takes its own time zone unless it is told.
lines=$(printf 'CRON_TZ=UTC # rhone\n'; line '0 2 * * *' backup-automated.sh; line '0 3 * * 0' restore-test.sh)

if [ "$dry_run" = yes ]; then
  printf '%s\n' "$lines"
  exit
fi
[ -r "$environment" ] || { echo "$environment cannot be read: it sets BACKUP_URL, DATABASE_URL and the rest" >&2; exit 1; }
# The zone is set for the lines below it, so ours come last.
{ crontab -l 2>/dev/null | grep -v '# rhone$' || true; printf '%s\n' "$lines"; } | crontab -

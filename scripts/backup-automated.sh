#!/bin/sh
# For cron, on a machine of its own: makes a backup, then removes what BACKUP_KEEP does not keep. A server does both by
# itself. Exits with 1 if either fails.
set -eu
cd "$(dirname "$0")/.."
npm run -s rhone -- backup create "$@"
exec npm run -s rhone -- backup prune

#!/bin/sh
# Practises a restore of the latest backup in a throw-away database. The same as `rhone backup drill`.
set -eu
cd "$(dirname "$0")/.."
exec npm run -s rhone -- backup drill "$@"

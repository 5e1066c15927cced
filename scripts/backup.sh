#!/bin/sh
# Makes a backup by hand. The same as `rhone backup create`, whose options it takes.
set -eu
cd "$(dirname "$0")/.."
exec npm run -s rhone -- backup create "$@"

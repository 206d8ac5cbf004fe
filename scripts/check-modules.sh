#!/usr/bin/env bash
# Proves that each module stands on its own: it builds without the workspace, and its go.mod says exactly what it
# needs. Then that the modules see only those they may (docs/architecture.md).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly prefix=github.com/saas-gestor/gestor

# module: the modules of ours it may import.
declare -rA may=(
	[proto]=""
	[plugins]="proto"
	[cli]="proto"
	[agent]="proto plugins"
	[server]="proto web"
	[e2e]="proto plugins cli agent server web"
)

check_imports() {
	local module=$1 other allowed=" ${may[$1]} $1 "
	while read -r other; do
		case "$allowed" in
		*" $other "*) ;;
		*) echo "check: $module imports $other, which it may not" >&2 && return 1 ;;
		esac
	done < <(GOWORK=off go list -deps -test ./... 2>/dev/null | sed -n "s|^$prefix/\([a-z0-9]*\).*|\1|p" | sort -u)
}

for module in "${!may[@]}"; do
	(
		cd "$module"
		GOWORK=off go build ./...
		GOWORK=off go mod tidy -diff
		check_imports "$module"
	) || { echo "check: module $module is not in order" >&2 && exit 1; }
done

#!/usr/bin/env bash
# Installs the pinned development tools into .bin/, each only when it is missing or of another version.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOBIN="$PWD/.bin" GOWORK=off

# package, module, version
readonly tools=(
	"github.com/bufbuild/buf/cmd/buf github.com/bufbuild/buf v1.75.0"
	"google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/protobuf v1.36.12"
	"connectrpc.com/connect/cmd/protoc-gen-connect-go connectrpc.com/connect v1.21.1"
	"google.golang.org/grpc/cmd/protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.6.2"
	"github.com/versity/versitygw/cmd/versitygw github.com/versity/versitygw v1.8.0" # an S3 server, for tests
	"mvdan.cc/gofumpt mvdan.cc/gofumpt v0.12.0"
	"github.com/golangci/golangci-lint/v2/cmd/golangci-lint github.com/golangci/golangci-lint/v2 v2.12.2"
)

# installed reports whether .bin holds that program, built from that module at that version.
installed() {
	local program="$GOBIN/${1##*/}" module=$2 version=$3
	[ -x "$program" ] || return 1
	go version -m "$program" | awk -v m="$module" -v v="$version" \
		'$1 == "mod" && $2 == m && $3 == v { found = 1 } END { exit !found }'
}

for tool in "${tools[@]}"; do
	read -r package module version <<<"$tool"
	installed "$package" "$module" "$version" && continue
	echo "tools: installing ${package##*/} $version"
	go install "$package@$version"
done

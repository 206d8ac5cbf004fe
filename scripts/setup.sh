#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that building, testing and the demo need. It does nothing, and asks for no
# privileges, when everything is there.
set -euo pipefail

# command:package; the command's presence stands for the package.
readonly wanted=(
	nginx:nginx
	git:git
	git-lfs:git-lfs
	zstd:zstd
	ssh:openssh-client
	sshd:openssh-server
	ip:iproute2
	nsenter:util-linux
	ps:procps
	shellcheck:shellcheck
	curl:curl
	systemctl:systemd
	systemd-nspawn:systemd-container
	dbus-daemon:dbus
	gcc:gcc
	chromium:chromium
)

# present also looks where an ordinary user's PATH does not.
present() {
	PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

missing() {
	local entry
	for entry in "${wanted[@]}"; do
		present "${entry%%:*}" || echo "${entry##*:}"
	done
}

# browser takes a browser out of what is missing where there is none to install. On Ubuntu the package chromium is a stub for
# a snap, which needs snapd and sees neither the tests' profiles nor their keys: the tests in a browser then want a real one.
browser() {
	grep -qi '^ID=ubuntu' /etc/os-release 2>/dev/null || return 0
	local kept=() entry
	for entry in "${packages[@]}"; do
		[ "$entry" = chromium ] || kept+=("$entry")
	done
	[ "${#kept[@]}" -eq "${#packages[@]}" ] ||
		echo "setup: Ubuntu has Chromium as a snap only, which is not installed; put a real one on the PATH as chromium for the tests in a browser" >&2
	packages=("${kept[@]}")
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		env "$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo env "$@"
	else
		echo "setup: run this as root, or install: ${packages[*]}" >&2
		exit 1
	fi
}

# install keeps services from being started: the tests and the demo run their own.
install() {
	as_root DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends "$@"
}

# fuse is what the tests make slow and stuck disks with. A machine whose kernel has none can do everything else.
fuse() {
	[ -e /dev/fuse ] || as_root modprobe fuse ||
		echo "setup: this kernel has no FUSE; the tests with slow disks will fail here" >&2
}

main() {
	command -v go >/dev/null 2>&1 || {
		echo "setup: Go 1.26 or newer is needed, see https://go.dev/dl/" >&2
		exit 1
	}
	mapfile -t packages < <(missing)
	browser
	fuse
	[ "${#packages[@]}" -gt 0 ] || exit 0
	command -v apt-get >/dev/null 2>&1 || {
		echo "setup: this is neither Debian nor Ubuntu; install: ${packages[*]}" >&2
		exit 1
	}
	echo "setup: installing ${packages[*]}"
	install "${packages[@]}" || {
		as_root apt-get update
		install "${packages[@]}"
	}
}

main "$@"

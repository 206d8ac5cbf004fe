// Command gestor deploys apps to your own servers, from a terminal or a pipeline. The command tree is in
// cli/internal/cmd; this file only joins it to the process.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/saas-gestor/gestor/cli/internal/cmd"
)

// version is set by the release build.
var version string //nolint:gochecknoglobals // the linker's -X needs a variable

func main() {
	os.Exit(cmd.Main(context.Background(), cmd.System(versionText()), os.Args[1:]))
}

// versionText is the release's version, or what the toolchain knows of a build from source.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

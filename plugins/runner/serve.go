package runner

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	runnerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/runner/v1"
)

// PluginName is the name under which a runner is dispensed.
const PluginName = "runner"

// ProtocolVersion is the newest protocol this package speaks.
const ProtocolVersion = 1

// Handshake tells a runner from a program that was started by mistake. It is no secret.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "GESTOR_RUNNER",
		MagicCookieValue: "5c1d2c0e-build-runner",
	}
}

// Serve answers the agent that started this program until the agent ends it. It is all that a runner's main does. It
// does not begin unless other processes of the user are kept out of this one.
func Serve(r Runner) {
	if err := confine(); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(1)
	}
	plugin.Serve(ServeConfig(r))
}

// ServeConfig is what Serve serves; runnertest runs it in-process.
func ServeConfig(r Runner) *plugin.ServeConfig {
	return &plugin.ServeConfig{
		HandshakeConfig:  Handshake(),
		VersionedPlugins: map[int]plugin.PluginSet{ProtocolVersion: {PluginName: &servedPlugin{runner: r}}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger:           hclog.NewNullLogger(),
	}
}

type servedPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	runner Runner
}

func (p *servedPlugin) GRPCServer(broker *plugin.GRPCBroker, s *grpc.Server) error {
	runnerv1.RegisterRunnerServiceServer(s, &server{runner: p.runner, broker: broker})
	return nil
}

func (p *servedPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("runner: this side only serves")
}

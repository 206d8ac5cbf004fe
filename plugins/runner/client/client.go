// Package client is the agent's side of runners: it starts them, asks them, and offers them the host.
//
// A runner's process serves one call at a time, as one user, and stays for a while after its last call, since the next
// one often follows at once. It has an empty environment, no rights beyond the user's, and dies with the agent.
package client

import (
	"context"
	"errors"
	"fmt"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/proto/fault"
	runnerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/runner/v1"
)

// Plugins is the set of plugins by protocol version that go-plugin clients of runners use.
func Plugins() map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{runner.ProtocolVersion: {runner.PluginName: &clientPlugin{}}}
}

type clientPlugin struct {
	plugin.NetRPCUnsupportedPlugin
}

func (p *clientPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("runner: this side only asks")
}

func (p *clientPlugin) GRPCClient(_ context.Context, b *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return &Client{c: runnerv1.NewRunnerServiceClient(c), broker: b}, nil
}

// Client is one connection to a runner. One Build at a time.
type Client struct {
	c      runnerv1.RunnerServiceClient
	broker *plugin.GRPCBroker
}

// Dispense returns the runner behind a started go-plugin client.
func Dispense(p *plugin.Client) (*Client, error) {
	conn, err := p.Client()
	if err != nil {
		return nil, fmt.Errorf("start runner: %w", err)
	}
	raw, err := conn.Dispense(runner.PluginName)
	if err != nil {
		return nil, fmt.Errorf("dispense runner: %w", err)
	}
	client, ok := raw.(*Client)
	if !ok {
		return nil, fmt.Errorf("dispense runner: got a %T", raw)
	}
	return client, nil
}

// Info says what the runner is.
func (c *Client) Info(ctx context.Context) (runner.Info, error) {
	res, err := c.c.Info(ctx, &runnerv1.InfoRequest{})
	if err != nil {
		return runner.Info{}, fmt.Errorf("ask runner for its name: %w", err)
	}
	return runner.Info{Name: res.GetName(), Version: res.GetVersion(), Precedence: int(res.GetPrecedence())}, nil
}

// Detect asks whether a source tree fits.
func (c *Client) Detect(ctx context.Context, s runner.Source) (runner.Detection, error) {
	res, err := c.c.Detect(ctx, &runnerv1.DetectRequest{SourceDir: s.Dir})
	if err != nil {
		return runner.Detection{}, fromWire(ctx, err)
	}
	return runner.Detection{
		Fits: res.GetFits(), Reasons: res.GetReasons(), BuildCommand: res.GetBuildCommand(),
		StartCommand: res.GetStartCommand(), Output: res.GetOutput(), Runtime: res.GetRuntime(),
	}, nil
}

// Build builds a source tree; the runner's wishes go to h. An error that h returned comes back as it was.
func (c *Client) Build(ctx context.Context, r runner.Request, h runner.Host) (runner.Result, error) {
	served := &hostServer{host: h}
	id := c.broker.NextId()
	stop := served.serve(c.broker, id)
	defer stop()
	res, err := c.c.Build(ctx, &runnerv1.BuildRequest{
		SourceDir: r.Source.Dir, BuildCommand: r.BuildCommand, StartCommand: r.StartCommand, Output: r.Output,
		HostBrokerId: id,
	})
	if err != nil {
		if own := served.lastErr(); own != nil {
			return runner.Result{}, own
		}
		return runner.Result{}, fromWire(ctx, err)
	}
	return runner.Result{
		Kind: runner.Kind(res.GetKind()), ArtifactDir: res.GetArtifactDir(), WebRoot: res.GetWebRoot(),
		StartCommand: res.GetStartCommand(), Runtime: runtimeFromProto(res.GetRuntime()), Exclude: res.GetExclude(),
	}, nil
}

// fromWire gives an error of a runner its meaning.
func fromWire(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.FailedPrecondition:
		return fault.Invalid("", "%s", st.Message())
	case codes.Unavailable:
		return fault.Unavailable("the runner's process ended unexpectedly").WithCause(err)
	default:
		return fmt.Errorf("runner: %w", err)
	}
}

func runtimeFromProto(r *runnerv1.Runtime) *runner.Runtime {
	if r == nil {
		return nil
	}
	return &runner.Runtime{Name: r.GetName(), Version: r.GetVersion()}
}

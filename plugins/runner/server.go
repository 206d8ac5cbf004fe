package runner

import (
	"context"
	"fmt"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	runnerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/runner/v1"
)

// server answers RunnerService with a Runner.
type server struct {
	runnerv1.UnimplementedRunnerServiceServer
	runner Runner
	broker *plugin.GRPCBroker
}

func (s *server) Info(context.Context, *runnerv1.InfoRequest) (*runnerv1.InfoResponse, error) {
	info := s.runner.Info()
	return &runnerv1.InfoResponse{Name: info.Name, Version: info.Version, Precedence: int32(info.Precedence)}, nil
}

func (s *server) Detect(ctx context.Context, r *runnerv1.DetectRequest) (*runnerv1.DetectResponse, error) {
	d, err := s.runner.Detect(ctx, Source{Dir: r.GetSourceDir()})
	if err != nil {
		return nil, onWire(err)
	}
	return &runnerv1.DetectResponse{
		Fits: d.Fits, Reasons: d.Reasons, BuildCommand: d.BuildCommand, StartCommand: d.StartCommand,
		Output: d.Output, Runtime: d.Runtime,
	}, nil
}

func (s *server) Build(ctx context.Context, r *runnerv1.BuildRequest) (*runnerv1.BuildResponse, error) {
	conn, err := s.broker.Dial(r.GetHostBrokerId())
	if err != nil {
		return nil, fmt.Errorf("reach the host: %w", err)
	}
	defer conn.Close() //nolint:errcheck // the call is over
	result, err := s.runner.Build(ctx, Request{
		Source: Source{Dir: r.GetSourceDir()}, BuildCommand: r.GetBuildCommand(),
		StartCommand: r.GetStartCommand(), Output: r.GetOutput(),
	}, &remoteHost{c: runnerv1.NewHostServiceClient(conn)})
	if err != nil {
		return nil, onWire(err)
	}
	return &runnerv1.BuildResponse{
		Kind: string(result.Kind), ArtifactDir: result.ArtifactDir, WebRoot: result.WebRoot,
		StartCommand: result.StartCommand, Runtime: runtimeToProto(result.Runtime), Exclude: result.Exclude,
	}, nil
}

// onWire keeps the code of an error that came from the host and gives all others the one that means: the source or its
// commands are at fault, and the message is for people.
func onWire(err error) error {
	if st, ok := status.FromError(err); ok && st.Code() != codes.Unknown {
		return st.Err()
	}
	return status.Error(codes.FailedPrecondition, err.Error())
}

func runtimeToProto(r *Runtime) *runnerv1.Runtime {
	if r == nil {
		return nil
	}
	return &runnerv1.Runtime{Name: r.Name, Version: r.Version}
}

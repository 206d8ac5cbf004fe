package client

import (
	"context"
	"errors"
	"sync"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/saas-gestor/gestor/plugins/runner"
	runnerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/runner/v1"
)

// hostServer answers HostService with a runner.Host, and remembers the error it answered last: what the runner
// returns is only its text.
type hostServer struct {
	runnerv1.UnimplementedHostServiceServer
	host runner.Host

	mu  sync.Mutex
	err error
}

// serve answers on a broker stream until the returned function was called.
func (h *hostServer) serve(b *plugin.GRPCBroker, id uint32) (stop func()) {
	made := make(chan *grpc.Server, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.AcceptAndServe(id, func(o []grpc.ServerOption) *grpc.Server {
			s := grpc.NewServer(append(o, grpc.WaitForHandlers(true))...)
			runnerv1.RegisterHostServiceServer(s, h)
			made <- s
			return s
		})
	}()
	return func() {
		select {
		case s := <-made:
			s.Stop()
			<-done
		case <-done: // the broker refused; the runner could not dial either
		}
	}
}

func (h *hostServer) lastErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// answer remembers err and makes of it what the runner sees.
func (h *hostServer) answer(err error) error {
	if err == nil {
		return nil
	}
	h.mu.Lock()
	h.err = err
	h.mu.Unlock()
	if errors.Is(err, context.Canceled) {
		return status.Error(codes.Canceled, err.Error())
	}
	return status.Error(codes.Aborted, err.Error())
}

func (h *hostServer) Run(ctx context.Context, r *runnerv1.RunRequest) (*runnerv1.RunResponse, error) {
	exit, err := h.host.Run(ctx, runner.Command{
		Argv: r.GetArgv(), Line: r.GetCommand(), Dir: r.GetDir(), Env: r.GetEnv(),
		Runtime: runtimeFromProto(r.GetRuntime()), CacheDirs: r.GetCacheDirs(), Timeout: r.GetTimeout().AsDuration(),
	})
	if err != nil {
		return nil, h.answer(err)
	}
	return &runnerv1.RunResponse{ExitCode: int32(exit.Code), Tail: exit.Tail, Killed: exit.Killed}, nil
}

func (h *hostServer) Phase(ctx context.Context, r *runnerv1.PhaseRequest) (*runnerv1.PhaseResponse, error) {
	return &runnerv1.PhaseResponse{}, h.answer(h.host.Phase(ctx, r.GetName()))
}

func (h *hostServer) Log(ctx context.Context, r *runnerv1.LogRequest) (*runnerv1.LogResponse, error) {
	return &runnerv1.LogResponse{}, h.answer(h.host.Log(ctx, "%s", r.GetText()))
}

func (h *hostServer) ResolveRuntime(
	ctx context.Context, r *runnerv1.ResolveRuntimeRequest,
) (*runnerv1.ResolveRuntimeResponse, error) {
	rt, err := h.host.ResolveRuntime(ctx, r.GetName(), r.GetRange())
	if err != nil {
		return nil, h.answer(err)
	}
	return &runnerv1.ResolveRuntimeResponse{
		Runtime: &runnerv1.Runtime{Name: rt.Name, Version: rt.Version}, BinDir: rt.BinDir,
	}, nil
}

func (h *hostServer) RestoreCache(
	ctx context.Context, r *runnerv1.RestoreCacheRequest,
) (*runnerv1.RestoreCacheResponse, error) {
	hit, err := h.host.RestoreCache(ctx, r.GetKey(), r.GetDir())
	return &runnerv1.RestoreCacheResponse{Hit: hit}, h.answer(err)
}

func (h *hostServer) SaveCache(ctx context.Context, r *runnerv1.SaveCacheRequest) (*runnerv1.SaveCacheResponse, error) {
	return &runnerv1.SaveCacheResponse{}, h.answer(h.host.SaveCache(ctx, r.GetKey(), r.GetDir()))
}

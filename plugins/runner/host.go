package runner

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/durationpb"

	runnerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/runner/v1"
)

// remoteHost is the Host as a runner sees it: HostService over the broker.
type remoteHost struct{ c runnerv1.HostServiceClient }

var _ Host = (*remoteHost)(nil)

func (h *remoteHost) Run(ctx context.Context, c Command) (Exit, error) {
	req := &runnerv1.RunRequest{
		Argv: c.Argv, Command: c.Line, Dir: c.Dir, Env: c.Env, Runtime: runtimeToProto(c.Runtime), CacheDirs: c.CacheDirs,
	}
	if c.Timeout > 0 {
		req.Timeout = durationpb.New(c.Timeout)
	}
	res, err := h.c.Run(ctx, req)
	if err != nil {
		return Exit{}, err
	}
	return Exit{Code: int(res.GetExitCode()), Tail: res.GetTail(), Killed: res.GetKilled()}, nil
}

func (h *remoteHost) Phase(ctx context.Context, name string) error {
	_, err := h.c.Phase(ctx, &runnerv1.PhaseRequest{Name: name})
	return err
}

func (h *remoteHost) Log(ctx context.Context, format string, args ...any) error {
	_, err := h.c.Log(ctx, &runnerv1.LogRequest{Text: fmt.Sprintf(format, args...)})
	return err
}

func (h *remoteHost) ResolveRuntime(ctx context.Context, name, versions string) (Runtime, error) {
	res, err := h.c.ResolveRuntime(ctx, &runnerv1.ResolveRuntimeRequest{Name: name, Range: versions})
	if err != nil {
		return Runtime{}, err
	}
	return Runtime{Name: res.GetRuntime().GetName(), Version: res.GetRuntime().GetVersion(), BinDir: res.GetBinDir()}, nil
}

func (h *remoteHost) RestoreCache(ctx context.Context, key, dir string) (bool, error) {
	res, err := h.c.RestoreCache(ctx, &runnerv1.RestoreCacheRequest{Key: key, Dir: dir})
	return res.GetHit(), err
}

func (h *remoteHost) SaveCache(ctx context.Context, key, dir string) error {
	_, err := h.c.SaveCache(ctx, &runnerv1.SaveCacheRequest{Key: key, Dir: dir})
	return err
}

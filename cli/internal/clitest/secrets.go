package clitest

import (
	"context"
	"strconv"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (h apps) ListEnvVersions(context.Context, *gestorv1.ListEnvVersionsRequest) (*gestorv1.ListEnvVersionsResponse, error) {
	return &gestorv1.ListEnvVersionsResponse{Versions: h.state.EnvVersions}, nil
}

func (h apps) DiffEnv(context.Context, *gestorv1.DiffEnvRequest) (*gestorv1.DiffEnvResponse, error) {
	return h.state.EnvDiff, nil
}

func (h apps) RollbackEnv(_ context.Context, r *gestorv1.RollbackEnvRequest) (*gestorv1.RollbackEnvResponse, error) {
	version := int64(len(h.state.EnvVersions))
	if r.GetVersion() > version {
		return nil, fault.NotFound("app %s has no version %s of its variables", r.GetApp(), strconv.FormatInt(r.GetVersion(), 10))
	}
	return &gestorv1.RollbackEnvResponse{Vars: h.state.Env, Version: version + 1}, nil
}

func (h apps) RevealEnv(_ context.Context, r *gestorv1.RevealEnvRequest) (*gestorv1.RevealEnvResponse, error) {
	if len(r.GetNames()) == 0 {
		return &gestorv1.RevealEnvResponse{Values: h.state.Values, Unreadable: h.state.Unreadable}, nil
	}
	out := &gestorv1.RevealEnvResponse{Values: map[string]string{}}
	for _, name := range r.GetNames() {
		value, ok := h.state.Values[name]
		if !ok {
			return nil, fault.NotFound("there is no variable %q", name)
		}
		out.Values[name] = value
	}
	return out, nil
}

func (h apps) ExportEnv(context.Context, *gestorv1.ExportEnvRequest) (*gestorv1.ExportEnvResponse, error) {
	file := "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n"
	return &gestorv1.ExportEnvResponse{File: file, Vars: int32(len(h.state.Values))}, nil
}

func (h servers) RotateKey(context.Context, *gestorv1.RotateKeyRequest) (*gestorv1.RotateKeyResponse, error) {
	return &gestorv1.RotateKeyResponse{Key: "0badcafe"}, nil
}

func (h servers) GetKeys(context.Context, *gestorv1.GetKeysRequest) (*gestorv1.GetKeysResponse, error) {
	return h.state.Keys, nil
}

func (h servers) DropKeys(context.Context, *gestorv1.DropKeysRequest) (*gestorv1.DropKeysResponse, error) {
	return &gestorv1.DropKeysResponse{Keys: []string{"deadbeef"}}, nil
}

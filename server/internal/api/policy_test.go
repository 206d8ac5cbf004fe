package api

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestNewPolicy_RefusesAMethodWithoutAPermission(t *testing.T) {
	empty := ".google.protobuf.Empty"
	name, pkg, service, method, syntax := "x.proto", "gestor.v1", "XService", "Do", "proto3"
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: &name, Package: &pkg, Syntax: &syntax, Dependency: []string{"google/protobuf/empty.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   &service,
			Method: []*descriptorpb.MethodDescriptorProto{{Name: &method, InputType: &empty, OutputType: &empty}},
		}},
	}, emptyResolver{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPolicy(file); err == nil || !strings.Contains(err.Error(), "gestor.v1.XService.Do") {
		t.Fatalf("got %v", err)
	}
}

func emptyFile() protoreflect.FileDescriptor { return emptypb.File_google_protobuf_empty_proto }

type emptyResolver struct{}

func (emptyResolver) FindFileByPath(string) (protoreflect.FileDescriptor, error) {
	return emptyFile(), nil
}

func (emptyResolver) FindDescriptorByName(protoreflect.FullName) (protoreflect.Descriptor, error) {
	return emptyFile().Messages().Get(0), nil
}

// A session that was stolen, and a token that was not made for it, neither take all of the state away, nor lower what the tenant
// demands, nor move the lead.
func TestPolicy_WhatHurtsMostNeedsARecentProof(t *testing.T) {
	policy, err := NewPolicy(Contract()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, procedure := range []string{
		"/gestor.v1.ServerService/Backup", "/gestor.v1.ServerService/TransferLeader", "/gestor.v1.ServerService/RemoveServer",
		"/gestor.v1.ServerService/CreateServerToken", "/gestor.v1.ServerService/RotateKey", "/gestor.v1.TenantService/UpdateOwnTenant",
		"/gestor.v1.TenantService/DeleteTenant", "/gestor.v1.AppService/RevealEnv", "/gestor.v1.AppService/ExportEnv", "/gestor.v1.AppService/DeleteApp",
		"/gestor.v1.NodeService/CreateJoinToken", "/gestor.v1.NodeService/DeleteNode", "/gestor.v1.UserService/UpdateUser",
		"/gestor.v1.UserService/DeleteUser", "/gestor.v1.TokenService/CreateToken", "/gestor.v1.ProtectionService/UpdateProtection",
	} {
		if !policy[procedure].GetStepUp() {
			t.Errorf("%s needs none", procedure)
		}
	}
}

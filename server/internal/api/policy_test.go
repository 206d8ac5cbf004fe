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

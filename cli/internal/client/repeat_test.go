package client_test

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// once are the methods that are not called again when nobody knows whether the first call arrived, each with the reason.
var once = map[string]string{
	"Claim":                 "works once, by its secret",
	"CreateSession":         "a session nobody knows of would be left behind",
	"CompleteSession":       "a code works once, and a session nobody knows of would be left behind",
	"ReauthenticateSession": "a code works once",
	"CreateRecoveryCodes":   "codes that nobody has seen would be those that count",
	"DeleteSession":         "the token is gone after the first",
	"CreateJoinToken":       "a token nobody knows of would be left behind",
	"DeleteNode":            "the node is gone after the first",

	"ApproveLogin":             "a request is approved once",
	"AcceptInvitation":         "an invitation is used once",
	"ChangePassword":           "the old password is wrong after the first",
	"ConfirmEmail":             "a link works once",
	"ConfirmPasswordReset":     "a link works once",
	"RequestEmailChange":       "two links would be on their way",
	"RequestEmailVerification": "two links would be on their way",
	"RequestPasswordReset":     "two links would be on their way",
	"RevealEnv":                "each time is an entry of the audit log",
	"ExportEnv":                "each time is an entry of the audit log",
	"TestProvider":             "asks somebody else's server",

	"RetryTask":      "the task may have failed again meanwhile",
	"TransferLeader": "would move it twice",
	"CheckServers":   "takes long",
}

func TestMethods_MayBeCalledAgainAtAnotherServer(t *testing.T) {
	found := map[string]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("gestor.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				found[string(m.Name())] = true
				if _, named := once[string(m.Name())]; !named && !m.IsStreamingServer() && !repeats(m) {
					t.Errorf("%s can be repeated neither by its kind nor by a request id", m.FullName())
				}
			}
		}
		return true
	})
	for name := range once {
		if !found[name] {
			t.Errorf("there is no method %s", name)
		}
	}
}

func repeats(m protoreflect.MethodDescriptor) bool {
	o, _ := m.Options().(*descriptorpb.MethodOptions)
	level := o.GetIdempotencyLevel()
	return level != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN || m.Input().Fields().ByName("request_id") != nil
}

package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server"
	"github.com/saas-gestor/gestor/server/servertest"
)

// takeBackup writes a backup through the API, and a copy of the key ring, into a new directory.
func takeBackup(t *testing.T, c *servertest.Cluster, s *servertest.Server) (file, keyring string) {
	t.Helper()
	stream, err := c.Client(s).Servers().Backup(t.Context(), &gestorv1.BackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	for stream.Receive() {
		raw.Write(stream.Msg().GetData())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, keyring = filepath.Join(dir, "backup"), filepath.Join(dir, "keyring")
	put(t, file, raw.Bytes())
	put(t, keyring, []byte(read(t, s.Dir, "keyring")+"\n"))
	return file, keyring
}

func put(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// detect has an agent do one task, to its end.
func detect(t *testing.T, c *servertest.Cluster, name string) {
	t.Helper()
	made, err := c.Any().Apps().DetectApp(t.Context(), &gestorv1.DetectAppRequest{Repository: "https://git.example.com/" + name})
	if err != nil {
		t.Fatal(err)
	}
	c.Await(time.Minute, "task of "+name, func(ctx context.Context) error {
		got, err := c.Any().Tasks().GetTask(ctx, &gestorv1.GetTaskRequest{Id: made.GetTaskId()})
		if err != nil {
			return err
		}
		if s := got.GetTask().GetState(); s != gestorv1.TaskState_TASK_STATE_SUCCEEDED {
			return io.ErrNoProgress
		}
		return nil
	})
}

func restoreInto(dir, file, keyring string) (string, error) {
	var out strings.Builder
	err := server.Restore(context.Background(), server.RestoreOptions{
		Config: server.Config{DataDir: dir, Listen: ":8443", PeerListen: ":8444", Name: "fresh"}, Version: "test", Out: &out, From: file, Keyring: keyring,
	})
	return out.String(), err
}

func TestRestore_IsFoundAgainByPeopleAndAgentsWhoWentFurther(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	s := c.Servers[0]
	c.FakeAgent("web1", nil)
	detect(t, c, "before")
	file, keyring := takeBackup(t, c, s)
	for _, name := range []string{"one", "two", "three"} { // the agent holds fences that the backup does not know
		detect(t, c, name)
	}
	c.Kill(s)
	s.Dir = filepath.Join(t.TempDir(), "fresh")
	if _, err := restoreInto(s.Dir, file, keyring); err != nil {
		t.Fatal(err)
	}
	c.Start(s)
	who, err := c.Client(s).Sessions().GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	if err != nil || who.GetSession().GetEmail() != servertest.Email {
		t.Fatalf("got %v, %v", who, err)
	}
	detect(t, c, "after")
	all, err := c.Client(s).Servers().ListServers(t.Context(), &gestorv1.ListServersRequest{})
	if err != nil || len(all.GetServers()) != 1 || all.GetServers()[0].GetRole() != gestorv1.ServerRole_SERVER_ROLE_VOTER {
		t.Errorf("got %v, %v", all, err)
	}
	c.Add()
	c.Add()
	c.WaitVoters(3)
	c.Check()
}

func TestRestore_RefusesWithWhatToDo(t *testing.T) {
	c, other := servertest.NewCluster(t, 1), servertest.NewCluster(t, 1)
	file, keyring := takeBackup(t, c, c.Servers[0])
	_, wrong := takeBackup(t, other, other.Servers[0])
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut, newer, open := file+".cut", file+".newer", keyring+".open"
	put(t, cut, raw[:len(raw)/2])
	put(t, newer, bytes.Replace(raw, []byte("gestor-backup 1"), []byte("gestor-backup 7"), 1))
	put(t, open, []byte(read(t, filepath.Dir(keyring), "keyring")))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ dir, file, keyring, want string }{
		"a directory with data": {c.Servers[0].Dir, file, keyring, "another gestor-server holds"},
		"a cut file":            {"", cut, keyring, "cut short"},
		"a newer form":          {"", newer, keyring, "newer form"},
		"no file":               {"", file + ".none", keyring, "no such file"},
		"no backup":             {"", keyring, keyring, "no backup"},
		"no key ring":           {"", file, keyring + ".none", "--keyring"},
		"another key ring":      {"", file, wrong, "is not that of the backup's installation"},
		"an open key ring":      {"", file, open, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := test.dir
			if dir == "" {
				dir = filepath.Join(t.TempDir(), "data")
			}
			if _, err := restoreInto(dir, test.file, test.keyring); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v", err)
			}
			if test.dir != "" {
				return
			}
			if _, err := restoreInto(dir, file, keyring); err != nil {
				t.Errorf("what was refused stands in the way: %v", err)
			}
			if _, err := restoreInto(dir, file, keyring); err == nil || !strings.Contains(err.Error(), "not empty") {
				t.Errorf("a second restore: %v", err)
			}
		})
	}
}

func TestRestore_FetchesNoBackupInTheClear(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o := server.RestoreOptions{
		Config: server.Config{DataDir: dir}, From: "s3://backups/one", Endpoint: "http://s3.example.com", Keyring: filepath.Join(dir, "keyring"),
	}
	if err := server.Restore(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("got %v", err)
	}
	o.Endpoint = "http://127.0.0.1:7070"
	if err := server.Restore(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--keyring") {
		t.Errorf("of this machine: %v", err)
	}
}

func offline(dir string) (server.OfflineOptions, *strings.Builder) {
	var out strings.Builder
	return server.OfflineOptions{DataDir: dir, Version: "test", Out: &out, Log: slog.New(slog.DiscardHandler)}, &out
}

func TestRecover_GoesOnWithOneOfThree(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	c.FakeAgent("web1", nil)
	detect(t, c, "before")
	c.Check() // all have everything
	survivor := c.Servers[1]
	for _, s := range c.Servers {
		c.Kill(s)
	}
	for _, s := range []*servertest.Server{c.Servers[0], c.Servers[2]} {
		if err := os.RemoveAll(s.Dir); err != nil {
			t.Fatal(err)
		}
	}
	o, said := offline(survivor.Dir)
	o.Confirm = func() (bool, error) { return false, nil }
	if err := server.Recover(t.Context(), o); err == nil {
		t.Fatal("it went on without a yes")
	}
	if err := server.Check(t.Context(), o); err != nil {
		t.Fatalf("a refused recovery broke something: %v", err)
	}
	o.Confirm = nil
	if err := server.Recover(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"are lost", "removed from the cluster: server srv_", "raft.before-", "gestor servers add"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q is not in:\n%s", want, said)
		}
	}
	if identity := read(t, survivor.Dir, "identity.json"); !strings.Contains(identity, `"incarnation": "`) {
		t.Errorf("the lost servers could still speak to it: %s", identity)
	}
	c.Start(survivor)
	detect(t, c, "after")
	all, err := c.Client(survivor).Servers().ListServers(t.Context(), &gestorv1.ListServersRequest{})
	if err != nil || len(all.GetServers()) != 1 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestCheck_TellsWholeFromDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := server.New(t.Context(), server.Options{
		Config: server.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "text"}, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o, said := offline(dir)
	if err := server.Check(t.Context(), o); err != nil || !strings.Contains(said.String(), "hash ") {
		t.Fatalf("got %v\n%s", err, said)
	}
	files, err := filepath.Glob(filepath.Join(dir, "raft", "log", "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[50] ^= 1
	put(t, files[0], damaged)
	if err := server.Check(t.Context(), o); err == nil || !strings.Contains(err.Error(), "let it join again") {
		t.Errorf("a damaged log: %v", err)
	}
	put(t, files[0], whole)
	put(t, filepath.Join(dir, "identity.json"), []byte("{"))
	if err := server.Check(t.Context(), o); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("a damaged identity: %v", err)
	}
	o.DataDir = t.TempDir()
	if err := server.Check(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestRecover_LeavesARunningServerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, dir)
	o, _ := offline(dir)
	for name, do := range map[string]func(context.Context, server.OfflineOptions) error{"recover": server.Recover, "check": server.Check} {
		if err := do(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another gestor-server holds") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

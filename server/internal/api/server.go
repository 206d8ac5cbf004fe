package api

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// Peers asks the control servers about themselves, and has their leader change who they are.
type Peers interface {
	Statuses(ctx context.Context, ids []gestor.ServerID) map[gestor.ServerID]*peerv1.GetStatusResponse
	MarkedStates(ctx context.Context, ids []gestor.ServerID, revision uint64) map[gestor.ServerID]members.MarkedState
	Remove(ctx context.Context, r members.Removal) (revision uint64, err error)
	Transfer(ctx context.Context, id gestor.ServerID) (leader gestor.ServerID, took time.Duration, err error)
}

// Replication is what this server knows of it.
type Replication interface {
	Members() []cluster.Member
	Leader() string
	ID() string
	Barrier(ctx context.Context) error // returns once this server has all that was committed before
}

// ServerDeps are what the server service needs; all of it but Now.
type ServerDeps struct {
	Engine      Engine
	Replication Replication
	Peers       Peers
	Keys        Keys
	Backup      func(ctx context.Context, w io.Writer) error // writes the whole state as of now
	Pin         []byte                                       // SHA-256 of the public key of the servers' root, for server tokens
	PublicURL   string                                       // where new servers reach this one: "https://ctl.example:8443"
	Derive      func(label string) []byte                    // 32 secret bytes, the same for a label on all servers and for all time
	Now         func() time.Time                             // time.Now if nil
}

// ServerService keeps the control servers. They belong to the installation and not to a tenant, so its handlers read in the
// system's scope; the permission on each method is the wall.
type ServerService struct{ deps ServerDeps }

var _ gestorv1connect.ServerServiceHandler = (*ServerService)(nil)

// NewServerService makes the service.
func NewServerService(d ServerDeps) *ServerService {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &ServerService{deps: d}
}

// ListServers lists the servers with what each says of itself now.
func (s *ServerService) ListServers(ctx context.Context, _ *gestorv1.ListServersRequest) (*gestorv1.ListServersResponse, error) {
	known, err := s.servers(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]gestor.ServerID, len(known))
	for i, k := range known {
		ids[i] = k.ID
	}
	p := panorama{
		servers: known, members: s.deps.Replication.Members(), leader: gestor.ServerID(s.deps.Replication.Leader()),
		status: s.deps.Peers.Statuses(ctx, ids),
	}
	return p.out(), nil
}

func (s *ServerService) servers(ctx context.Context) ([]gestor.Server, error) {
	return s.deps.Engine.View(gestor.SystemScope()).Servers(ctx)
}

// find finds a server by id or name. Ids hold an underscore and names never do.
func (s *ServerService) find(ctx context.Context, ref string) (gestor.Server, error) {
	view := s.deps.Engine.View(gestor.SystemScope())
	if strings.HasPrefix(ref, "srv_") {
		found, err := view.Server(ctx, gestor.ServerID(ref))
		return found, absent(err, "server", ref)
	}
	found, err := view.ServerByName(ctx, ref)
	return found, absent(err, "server", ref)
}

// serverTokenTTL is short because the token hands over every key there is.
const serverTokenTTL = 10 * time.Minute

// CreateServerToken makes a token with which one host may become a control server. Only its hash is kept; for a request that
// is repeated the same token is made again.
func (s *ServerService) CreateServerToken(ctx context.Context, req *gestorv1.CreateServerTokenRequest) (*gestorv1.CreateServerTokenResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if req.GetName() != "" {
		if err := gestor.CheckServerName("name", req.GetName()); err != nil {
			return nil, err
		}
	}
	token := s.token(r, req.GetRequestId())
	stored := gestor.ServerToken{
		ID: token.ID, SecretHash: pki.HashSecret(token.Secret), Name: req.GetName(), ExpiresAt: s.deps.Now().Add(serverTokenTTL),
	}
	if req.GetReplaces() != "" {
		old, err := s.find(ctx, req.GetReplaces())
		if err != nil {
			return nil, err
		}
		stored.Replaces = old.ID
	}
	if _, err := r.propose(ctx, req.GetRequestId(), command.CreateServerToken{Token: stored}); err != nil {
		return nil, err
	}
	if stored, err = s.deps.Engine.View(gestor.SystemScope()).ServerToken(ctx, token.ID); err != nil {
		return nil, err
	}
	return &gestorv1.CreateServerTokenResponse{
		Token:     token.String(),
		ExpiresAt: timeOut(stored.ExpiresAt),
		Command:   "GESTOR_JOIN_TOKEN=" + token.String() + " gestor-server --join " + s.deps.PublicURL,
	}, nil
}

// token makes a token, the same for the same request of the same tenant.
func (s *ServerService) token(r reach, requestID string) pki.JoinToken {
	token := pki.NewJoinToken(s.deps.Pin)
	if requestID == "" {
		return token
	}
	sum := s.deps.Derive("server token " + string(r.caller.Tenant) + " " + requestID)
	token.ID, token.Secret = hex.EncodeToString(sum[:6]), base64.RawURLEncoding.EncodeToString(sum[8:32])
	return token
}

// RemoveServer takes a server out, and returns once the others replicate without it.
func (s *ServerService) RemoveServer(ctx context.Context, req *gestorv1.RemoveServerRequest) (*gestorv1.RemoveServerResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	gone, err := s.find(ctx, req.GetServer())
	if errors.Is(err, fault.KindNotFound) && req.GetRequestId() != "" {
		return s.removedBefore(ctx, r, req, err)
	}
	if err != nil {
		return nil, err
	}
	deletion, err := command.Marshal(command.Command{
		RequestID: req.GetRequestId(), At: s.deps.Now(), Actor: r.caller.Actor, Op: command.DeleteServer{ID: gone.ID},
	})
	if err != nil {
		return nil, err
	}
	revision, err := s.deps.Peers.Remove(ctx, members.Removal{ID: gone.ID, Command: deletion, Force: req.GetForce()})
	if err != nil {
		return nil, err
	}
	return &gestorv1.RemoveServerResponse{}, s.untilOut(ctx, gone, revision)
}

// removedBefore answers a repeated request whose server is gone already. A first one is refused by the state machine, which
// has no server without an id.
func (s *ServerService) removedBefore(ctx context.Context, r reach, req *gestorv1.RemoveServerRequest, unknown error) (*gestorv1.RemoveServerResponse, error) {
	_, err := r.propose(ctx, req.GetRequestId(), command.DeleteServer{})
	if errors.Is(err, fault.KindNotFound) {
		return nil, unknown
	}
	return &gestorv1.RemoveServerResponse{}, err
}

const (
	outLimit = 15 * time.Second
	outLook  = 20 * time.Millisecond
)

// untilOut waits until a server does not replicate any more, and another one leads that knows: what this server sees of the members is
// not committed yet, and who removes a server may switch it off a moment later. If it is this one it cannot see that.
func (s *ServerService) untilOut(ctx context.Context, gone gestor.Server, revision uint64) error {
	if string(gone.ID) == s.deps.Replication.ID() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, outLimit)
	defer cancel()
	if err := s.deps.Engine.Wait(ctx, revision); err != nil {
		return err
	}
	tick := time.NewTicker(outLook)
	defer tick.Stop()
	for {
		if s.out(ctx, gone.ID) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fault.Unavailable("%s will be taken out, and is still part of the replication", gone.Name).
				WithFix("see with `gestor servers list` that the others answer")
		}
	}
}

// out reports whether a server that leads goes on without one that was removed, whatever becomes of that one.
func (s *ServerService) out(ctx context.Context, gone gestor.ServerID) bool {
	replication := s.deps.Replication
	without := func() bool {
		_, is := roleOf(replication.Members(), gone)
		return !is && replication.Leader() != "" && replication.Leader() != string(gone)
	}
	return without() && replication.Barrier(ctx) == nil && without()
}

// TransferLeader makes another voter lead.
func (s *ServerService) TransferLeader(ctx context.Context, req *gestorv1.TransferLeaderRequest) (*gestorv1.TransferLeaderResponse, error) {
	var to gestor.ServerID
	if req.GetServer() != "" {
		named, err := s.find(ctx, req.GetServer())
		if err != nil {
			return nil, err
		}
		to = named.ID
	}
	if err := s.note(ctx, cmp.Or(string(to), "the most up to date")); err != nil {
		return nil, err
	}
	leader, took, err := s.deps.Peers.Transfer(ctx, to)
	if err != nil {
		return nil, err
	}
	name := string(leader)
	if found, err := s.find(ctx, name); err == nil {
		name = found.Name
	}
	return &gestorv1.TransferLeaderResponse{Leader: name, Took: durationpb.New(took)}, nil
}

// checkLimit is how long servers may take to reach the mark and to read their whole state.
const checkLimit = 25 * time.Second

// CheckServers compares the states of all servers at one place in the log.
func (s *ServerService) CheckServers(ctx context.Context, _ *gestorv1.CheckServersRequest) (*gestorv1.CheckServersResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	known, err := s.servers(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]gestor.ServerID, len(known))
	for i, k := range known {
		ids[i] = k.ID
	}
	receipt, err := r.propose(ctx, "", command.Mark{ID: "mark_" + rand.Text()})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	states := s.deps.Peers.MarkedStates(ctx, ids, receipt.Revision)
	out := compared(known, gestor.ServerID(s.deps.Replication.Leader()), states)
	for id, status := range s.deps.Peers.Statuses(ctx, ids) {
		i := slices.IndexFunc(known, func(k gestor.Server) bool { return k.ID == id })
		out.Servers[i].ClockAhead = status.GetClockAhead()
	}
	out.Revision = receipt.Revision
	return out, nil
}

// note writes into the audit log what a caller is about to do that changes nothing in the state.
func (s *ServerService) note(ctx context.Context, object string) error {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	_, err = r.propose(ctx, "", command.Mark{ID: object})
	return err
}

// backupPiece is how much of a backup goes in one message.
const backupPiece = 256 << 10

// Backup sends the state as of now, in which the audit log tells of it.
func (s *ServerService) Backup(ctx context.Context, _ *gestorv1.BackupRequest, stream *connect.ServerStream[gestorv1.BackupResponse]) error {
	if err := s.note(ctx, "backup_"+rand.Text()); err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	w := bufio.NewWriterSize(pieces{stream}, backupPiece)
	if err := s.deps.Backup(ctx, w); err != nil {
		return err
	}
	return w.Flush()
}

// pieces sends what is written, which a buffer has cut.
type pieces struct {
	stream *connect.ServerStream[gestorv1.BackupResponse]
}

func (p pieces) Write(data []byte) (int, error) {
	for sent := 0; sent < len(data); sent += backupPiece {
		piece := data[sent:min(sent+backupPiece, len(data))]
		if err := p.stream.Send(&gestorv1.BackupResponse{Data: piece}); err != nil {
			return sent, err
		}
	}
	return len(data), nil
}

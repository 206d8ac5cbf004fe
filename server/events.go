package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/server/internal/alarm"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	delivery "github.com/saas-gestor/gestor/server/internal/notify"
	"github.com/saas-gestor/gestor/server/internal/outward"
)

// wireEvents makes what carries events out, and what looks for some.
func (s *Server) wireEvents(p *parts) error {
	allow, err := s.options.Config.Outgoing.Networks()
	if err != nil {
		return err
	}
	own := &ownAddresses{hosts: s.hostsOfServers}
	web := outward.New(outward.Options{Allow: allow, Own: own.list})
	sender := delivery.NewSender(delivery.SenderOptions{
		Secrets: s.ring, Mail: p.mail, Web: web, Now: s.clock.Now, Telegram: s.options.Tuning.Telegram, Version: s.options.Version,
	})
	p.sender = sender
	log := s.log.With("component", "notify")
	s.engine.OnTerm("notify", delivery.New(delivery.Options{Engine: s.engine, Sender: sender, Log: log, Now: s.clock.Now}).RunTerm)
	s.engine.OnTerm("alarm", alarm.New(alarm.Options{
		Engine: s.engine, Look: func(ctx context.Context) []alarm.Condition { return s.conditions(ctx, p) }, Log: log, Now: s.clock.Now,
		Every: s.options.Tuning.Alarm,
	}).RunTerm)
	return nil
}

// conditions are what the leader looks for.
func (s *Server) conditions(ctx context.Context, p *parts) []alarm.Condition {
	out := s.serverConditions(ctx, p)
	if p.backups == nil {
		return out
	}
	status := p.backups.Status()
	return append(out, alarm.Condition{
		Object: "backup", Bad: status.Err != "",
		Raised: gestor.Event{
			Severity: gestor.SeverityError, Kind: gestor.EventBackupFailed, ObjectKind: "backup",
			Title: "the scheduled backup fails: " + status.Err, Data: map[string]string{"error": status.Err},
		},
		Cleared: gestor.Event{Severity: gestor.SeverityInfo, Kind: gestor.EventBackupBack, ObjectKind: "backup", Title: "the scheduled backup works again"},
	})
}

func (s *Server) serverConditions(ctx context.Context, p *parts) []alarm.Condition {
	servers, err := s.engine.View(gestor.SystemScope()).Servers(ctx)
	if err != nil {
		return nil // looked at again in a moment
	}
	var ids []gestor.ServerID
	for _, server := range servers {
		if string(server.ID) != s.id.server {
			ids = append(ids, server.ID)
		}
	}
	answers := p.members.Statuses(ctx, ids)
	if ctx.Err() != nil {
		return nil
	}
	var out []alarm.Condition
	for _, server := range servers {
		data := map[string]string{"server": server.Name, "address": server.PeerAddress}
		out = append(out, alarm.Condition{
			Object: string(server.ID), Bad: answers[server.ID] == nil && string(server.ID) != s.id.server,
			Raised: gestor.Event{
				Severity: gestor.SeverityCritical, Kind: gestor.EventServerUnreachable, ObjectKind: "server", Data: data,
				Title: fmt.Sprintf("the control server %s does not answer at %s", server.Name, server.PeerAddress),
			},
			Cleared: gestor.Event{
				Severity: gestor.SeverityInfo, Kind: gestor.EventServerBack, ObjectKind: "server", Data: data,
				Title: fmt.Sprintf("the control server %s answers again", server.Name),
			},
		})
	}
	return out
}

// hostsOfServers are the names and addresses by which the control servers and this installation are reached.
func (s *Server) hostsOfServers(ctx context.Context) []string {
	var out []string
	servers, err := s.engine.View(gestor.SystemScope()).Servers(ctx)
	if err != nil {
		s.log.Warn("control servers not read", "err", err)
	}
	for _, server := range servers {
		for _, address := range append([]string{server.PeerAddress}, server.Addresses...) {
			if host, _, err := net.SplitHostPort(address); err == nil {
				out = append(out, host)
			}
		}
	}
	return out
}

// ownAddresses knows the addresses of the installation, which people of tenants may not reach through it.
type ownAddresses struct {
	hosts func(ctx context.Context) []string

	mu    sync.Mutex
	known []netip.Addr // guarded by mu
	until time.Time    // guarded by mu
}

const (
	ownFor     = time.Minute     // how long names are taken for what they meant
	ownLookups = 3 * time.Second // for all names
)

// list is the addresses of this host and of all control servers.
func (o *ownAddresses) list() []netip.Addr {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Now().Before(o.until) {
		return o.known
	}
	ctx, cancel := context.WithTimeout(context.Background(), ownLookups) // of nobody's request alone: the answer is kept
	defer cancel()
	o.known, o.until = interfaces(), time.Now().Add(ownFor)
	for _, host := range o.hosts(ctx) {
		if a, err := netip.ParseAddr(host); err == nil {
			o.known = append(o.known, a)
			continue
		}
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err == nil {
			o.known = append(o.known, found...)
		}
	}
	return o.known
}

func interfaces() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out
}

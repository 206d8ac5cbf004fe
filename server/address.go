package server

import (
	"net"
	"net/url"
	"os"
)

// publicURLs are where people and agents reach this server: as configured, or guessed from where it listens.
func (s *Server) publicURLs() []string {
	if len(s.options.Config.PublicURLs) > 0 {
		return s.options.Config.PublicURLs
	}
	host, port, err := net.SplitHostPort(s.options.Config.Listen)
	if err != nil {
		return []string{"https://" + s.options.Config.Listen}
	}
	if isAny(host) {
		host = hostname()
	}
	return []string{"https://" + net.JoinHostPort(host, port)}
}

// addresses are the public URLs as host:port.
func (s *Server) addresses() []string {
	var out []string
	for _, raw := range s.publicURLs() {
		u, err := url.Parse(raw)
		if err != nil {
			continue // checked with the settings
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		out = append(out, net.JoinHostPort(u.Hostname(), port))
	}
	return out
}

// hosts are the names and addresses the server's certificate is for.
func (s *Server) hosts() []string {
	hosts := []string{hostname()}
	if host, _, err := net.SplitHostPort(s.options.Config.Listen); err == nil && !isAny(host) {
		hosts = append(hosts, host)
	}
	for _, address := range s.addresses() {
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func isAny(host string) bool {
	if host == "" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// dial makes the connection of a link: by way of the proxy that the environment names, if it does (HTTPS_PROXY,
// NO_PROXY), which is asked to CONNECT (RFC 9110, 9.3.6).
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	if network != "tcp" {
		return d.DialContext(ctx, network, addr)
	}
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(&url.URL{Scheme: "https", Host: addr})
	if err != nil {
		return nil, fmt.Errorf("the environment's proxy: %w", err)
	}
	if proxy == nil {
		return d.DialContext(ctx, network, addr)
	}
	conn, err := dialProxy(ctx, proxy)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", proxy.Host, err)
	}
	if err := tunnel(ctx, conn, proxy, addr); err != nil {
		_ = conn.Close() // it is of no use
		return nil, fmt.Errorf("the proxy %s: %w", proxy.Host, err)
	}
	return conn, nil
}

func dialProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	port := map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	if port == "" {
		return nil, fmt.Errorf("it is for %q, and must be for http or https", proxy.Scheme)
	}
	if proxy.Port() != "" {
		port = proxy.Port()
	}
	addr := net.JoinHostPort(proxy.Hostname(), port)
	if proxy.Scheme == "https" {
		d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}}
		return d.DialContext(ctx, "tcp", addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// tunnel has a proxy connect conn to addr.
func tunnel(ctx context.Context, conn net.Conn, proxy *url.URL, addr string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // wakes who reads or writes
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(proxy.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("it answered %.100q to CONNECT %s", res.Status, addr)
	case r.Buffered() > 0:
		return errors.New("it said more than the answer to CONNECT")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

// listen listens at an address as the configuration has it: HOST:PORT, or unix:///PATH.
func listen(ctx context.Context, address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, usagef("%q is no address to listen at: one looks like 0.0.0.0:8220 or unix:///run/node.sock", address)
		}
		return new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	path = strings.TrimPrefix(path, "//")
	if path == "" {
		return nil, usagef("%q names no socket: one looks like unix:///run/node.sock", address)
	}
	removeStale(ctx, path)
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}

// removeStale removes the socket of a process that has ended without removing it.
func removeStale(ctx context.Context, path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // someone is there: listening says so
		return
	}
	_ = os.Remove(path) // listening says what is wrong
}

// Package sdk is the official Go SDK of KES against a running Keyway: every call that the server has an API for, every
// error that the SDK has a value for, lists, streams and several endpoints.
//
// tests/interop/sdk.rs starts the servers and runs these tests; what they need comes in the environment.
package sdk

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

// setting is what a test needs from the environment.
func setting(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run these tests by `cargo test --test keyway interop::sdk`", name)
	}
	return value
}

// client is somebody with a certificate, and how it speaks.
type client struct {
	*kes.Client
	title    string
	identity kes.Identity
	isAdmin  bool

	mutex     sync.Mutex
	protocols map[string]int
}

// counted is a transport that counts the protocols of all responses.
type counted struct {
	*client
	next http.RoundTripper
}

// RoundTrip is what an HTTP client calls.
func (c counted) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	if err == nil {
		c.mutex.Lock()
		c.protocols[response.Proto]++
		c.mutex.Unlock()
	}
	return response, err
}

// identityOf is what a server knows a certificate by.
func identityOf(t testing.TB, certificate tls.Certificate) kes.Identity {
	t.Helper()
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	must(t, err)
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return kes.Identity(hex.EncodeToString(sum[:]))
}

// certificate reads a pair of files, of which KEYWAY_<name>_CERT and KEYWAY_<name>_KEY are the paths.
func certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(setting(t, "KEYWAY_"+name+"_CERT"), setting(t, "KEYWAY_"+name+"_KEY"))
	must(t, err)
	return pair
}

// apiKey reads the API key in KEYWAY_<name>_API_KEY.
func apiKey(t testing.TB, name string) kes.APIKey {
	t.Helper()
	key, err := kes.ParseAPIKey(setting(t, "KEYWAY_"+name+"_API_KEY"))
	must(t, err)
	return key
}

// roots trusts only the server's certificate.
func roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(setting(t, "KEYWAY_CA"))
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("KEYWAY_CA has no certificate")
	}
	return pool
}

// newClient uses HTTP/2 with a certificate, as the SDK does by default.
func newClient(t testing.TB, title string, pair tls.Certificate, endpoints ...string) *client {
	t.Helper()
	if len(endpoints) == 0 {
		endpoints = []string{setting(t, "KEYWAY_ENDPOINT")}
	}
	inner := kes.NewClientWithConfig("", &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots(t)})
	inner.Endpoints = endpoints
	return wrap(t, title, inner, identityOf(t, pair))
}

// newHTTP1Client is the same without HTTP/2.
func newHTTP1Client(t testing.TB, title string, pair tls.Certificate) *client {
	t.Helper()
	inner := kes.Client{Endpoints: []string{setting(t, "KEYWAY_ENDPOINT")}}
	inner.HTTPClient.Transport = &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots(t)},
		TLSNextProto:    map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	return wrap(t, title, &inner, identityOf(t, pair))
}

func wrap(t testing.TB, title string, inner *kes.Client, identity kes.Identity) *client {
	t.Helper()
	c := &client{Client: inner, title: title, identity: identity, protocols: map[string]int{}}
	c.isAdmin = identity == kes.Identity(setting(t, "KEYWAY_ADMIN"))
	transport := inner.HTTPClient.Transport
	inner.HTTPClient.Transport = counted{client: c, next: transport}
	t.Cleanup(transport.(*http.Transport).CloseIdleConnections)
	return c
}

// admin is the client that may do anything.
func admin(t testing.TB) *client {
	t.Helper()
	return newClient(t, "admin", certificate(t, "ADMIN"))
}

// stranger is a client with an API key that no server has seen.
func stranger(t testing.TB) *client {
	t.Helper()
	key, err := kes.GenerateAPIKey(nil)
	must(t, err)
	pair, err := kes.GenerateCertificate(key)
	must(t, err)
	return newClient(t, "stranger", pair)
}

// deadline is the context of a test's calls: whatever hangs fails.
func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal fails unless both are the same.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// row prints a line of a table.
func row(cells ...string) {
	fmt.Println("sdk | " + strings.Join(cells, " | "))
}

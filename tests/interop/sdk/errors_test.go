package sdk

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

// failure is a call that the server must refuse, and the error that the SDK must make of it.
type failure struct {
	call string
	why  string
	want kes.Error
	try  func(ctx context.Context) error
}

// check makes all calls and prints a row of each.
func check(t *testing.T, failures []failure) {
	t.Helper()
	ctx := deadline(t)
	row("call", "why it fails", "error of the SDK")
	slices.SortStableFunc(failures, func(a, b failure) int { return strings.Compare(a.call+a.why, b.call+b.why) })
	for _, failure := range failures {
		err := failure.try(ctx)
		// Status and text: both are compared.
		if !errors.Is(err, failure.want) {
			t.Errorf("%s, %s: got %d %v, want %d %v", failure.call, failure.why, statusOf(err), err, failure.want.Status(), failure.want)
			continue
		}
		row(failure.call, failure.why, failure.want.Error())
	}
}

func statusOf(err error) int {
	var answer kes.Error
	if errors.As(err, &answer) {
		return answer.Status()
	}
	return 0
}

func TestEveryErrorIsTheSDKsOwnValue(t *testing.T) {
	ctx, c := deadline(t), admin(t)
	must(t, c.CreateKey(ctx, "key"))
	must(t, c.CreateKey(ctx, "other"))
	ciphertext, err := c.Encrypt(ctx, "key", []byte("text"), []byte("context"))
	must(t, err)
	var failures []failure
	add := func(call, why string, want kes.Error, try func(ctx context.Context) error) {
		failures = append(failures, failure{call, why, want, try})
	}

	for _, use := range uses(c, "none") {
		add(use.call, "no such key", kes.ErrKeyNotFound, use.try)
	}
	add("CreateKey", "the name is taken", kes.ErrKeyExists, func(ctx context.Context) error { return c.CreateKey(ctx, "key") })
	add("ImportKey", "the name is taken", kes.ErrKeyExists, func(ctx context.Context) error {
		return c.ImportKey(ctx, "key", &kes.ImportKeyRequest{Key: make([]byte, 32)})
	})

	changed := bytes.Clone(ciphertext)
	changed[len(changed)/2] ^= 1
	for why, wrong := range map[string]struct {
		key        string
		ciphertext []byte
		context    []byte
	}{
		"one bit of the ciphertext":        {"key", changed, []byte("context")},
		"the ciphertext is cut":            {"key", ciphertext[:len(ciphertext)-1], []byte("context")},
		"no ciphertext":                    {"key", nil, []byte("context")},
		"not a ciphertext":                 {"key", []byte("{}"), []byte("context")},
		"the context of another one":       {"key", ciphertext, []byte("other")},
		"no context":                       {"key", ciphertext, nil},
		"the key of another one":           {"other", ciphertext, []byte("context")},
		"the key lacks an HMAC and is old": {"without-hmac", ciphertext, []byte("context")},
	} {
		add("Decrypt", why, kes.ErrDecrypt, func(ctx context.Context) error {
			_, err := c.Client.Decrypt(ctx, wrong.key, wrong.ciphertext, wrong.context)
			return err
		})
	}
	// MinIO interprets only this status as "not supported".
	add("HMAC", "the key is of a time without HMACs", kes.NewError(http.StatusNotImplemented, "key does not support HMAC"),
		func(ctx context.Context) error { _, err := c.HMAC(ctx, "without-hmac", nil); return err })

	for _, length := range []int{0, 16, 31, 33} {
		add("ImportKey", "a secret of another length", kes.NewError(http.StatusNotAcceptable, "invalid key size for 'AES256'"),
			func(ctx context.Context) error {
				return c.ImportKey(ctx, "imported", &kes.ImportKeyRequest{Key: make([]byte, length)})
			})
	}
	add("ImportKey", "an unknown algorithm", kes.NewError(http.StatusNotAcceptable, "algorithm '%!7' is not supported"),
		func(ctx context.Context) error {
			return c.ImportKey(ctx, "imported", &kes.ImportKeyRequest{Key: make([]byte, 32), Cipher: 7})
		})

	for _, name := range []string{"a.b", "a/b", "-a", "_", strings.Repeat("k", 81), "ключ", "a b", "a%2Fb", "a~b"} {
		want := kes.NewError(http.StatusBadRequest, "key name '"+name+"' is empty, too long or contains invalid characters")
		for _, use := range append(uses(c, name), failure{call: "CreateKey", try: func(ctx context.Context) error { return c.CreateKey(ctx, name) }}) {
			add(use.call, "the name '"+name+"'", want, use.try)
		}
	}
	for _, pattern := range []string{"a.b", "a*b", "**", strings.Repeat("k", 81)} {
		want := kes.NewError(http.StatusBadRequest, "listing pattern '"+pattern+"' is empty, too long or is invalid")
		for call, try := range lists(c, pattern) {
			add(call, "the pattern '"+pattern+"'", want, try)
		}
	}

	add("DescribePolicy", "no such policy", kes.ErrPolicyNotFound, func(ctx context.Context) error { _, err := c.DescribePolicy(ctx, "none"); return err })
	add("GetPolicy", "no such policy", kes.ErrPolicyNotFound, func(ctx context.Context) error { _, err := c.GetPolicy(ctx, "none"); return err })
	add("DescribeIdentity", "no such identity", kes.ErrIdentityNotFound, func(ctx context.Context) error {
		_, err := c.DescribeIdentity(ctx, "none")
		return err
	})
	nobody := stranger(t)
	add("DescribeSelf", "the config does not know the client", kes.ErrIdentityNotFound, func(ctx context.Context) error {
		_, _, err := nobody.DescribeSelf(ctx)
		return err
	})
	check(t, failures)
}

func TestWhateverThePolicyDoesNotAllowIsErrNotAllowed(t *testing.T) {
	ctx, c := deadline(t), admin(t)
	must(t, c.CreateKey(ctx, "key"))
	must(t, c.CreateKey(ctx, "app-1"))
	pair, err := kes.GenerateCertificate(apiKey(t, "APP"))
	must(t, err)
	app := newClient(t, "app", pair)
	var failures []failure
	for why, who := range map[string]*client{"no policy": stranger(t), "no rule of the policy": app} {
		for call, try := range everything(who, "key") {
			if who == app && (call == "Status" || strings.HasPrefix(call, "ListKeys")) {
				must(t, try(ctx))
				continue
			}
			failures = append(failures, failure{call, why, kes.ErrNotAllowed, try})
		}
	}
	must(t, app.CreateKey(ctx, "app-2"))
	failures = append(failures, failure{"CreateKey", "a rule denies it", kes.ErrNotAllowed, func(ctx context.Context) error {
		return app.CreateKey(ctx, "app-internal-1")
	}})
	check(t, failures)
	// Nothing of it has happened.
	_, err = c.DescribeKey(ctx, "app-internal-1")
	equal[error](t, "the key that was denied", err, kes.ErrKeyNotFound)
	_, err = c.DescribeKey(ctx, "key")
	must(t, err)
}

func TestWithoutACertificateOrTrustThereIsAConnectionError(t *testing.T) {
	ctx := deadline(t)
	endpoint := setting(t, "KEYWAY_ENDPOINT")
	for why, config := range map[string]*tls.Config{
		"certificate required": {RootCAs: roots(t)},
		"certificate signed by unknown authority": {
			RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{certificate(t, "ADMIN")},
		},
	} {
		_, err := kes.NewClientWithConfig(endpoint, config.Clone()).Status(ctx)
		if err == nil || statusOf(err) != 0 {
			t.Errorf("%s: got an answer: %v", why, err)
		}
		// Go's HTTP/2 client may lose the reason when the alert comes after its own handshake (TLS 1.3). TLS has it.
		connection, err := tls.Dial("tcp", strings.TrimPrefix(endpoint, "https://"), config)
		if err == nil {
			_, err = connection.Read(make([]byte, 1))
			must(t, connection.Close())
		}
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, want %q", err, why)
			continue
		}
		row("Status", why, "an error of TLS")
	}
}

func TestAnUnavailableStoreIsReportedLikeKES(t *testing.T) {
	ctx, c := deadline(t), admin(t)
	// `unreachable`: there is no server at its address; `unavailable`: it does not respond as it should.
	kind := setting(t, "KEYWAY_STORE")
	state, err := c.Status(ctx)
	must(t, err)
	equal(t, "reachable", state.KeyStoreReachable, kind == "unavailable")
	equal(t, "available", state.KeystoreAvailable, false)
	equal(t, "latency", state.KeyStoreLatency, 0)
	ready, err := c.IsReady(ctx)
	equal(t, "ready", ready, false)
	want := kes.NewError(http.StatusGatewayTimeout, "key store is not reachable")
	if kind == "unavailable" {
		want = kes.NewError(http.StatusBadGateway, "key store is unavailable")
	}
	if !errors.Is(err, want) {
		t.Fatalf("IsReady: %v", err)
	}
	calls := []failure{
		{call: "CreateKey", why: "failed to create key", try: func(ctx context.Context) error { return c.CreateKey(ctx, "key") }},
		{call: "ListKeys", why: "failed to list keys", try: func(ctx context.Context) error { _, _, err := c.ListKeys(ctx, "", -1); return err }},
	}
	for _, use := range uses(c, "key") {
		use.why = "failed to read key"
		if use.call == "DeleteKey" {
			use.why = "failed to delete key"
		}
		calls = append(calls, use)
	}
	// 502 from a store that was asked; what ready says from one that is known to be down, where the gateway knows that.
	known := http.StatusGatewayTimeout
	if kind == "unavailable" {
		known = http.StatusServiceUnavailable
	}
	row("call", "the store is", "status", "error of the SDK")
	for _, call := range calls {
		start := time.Now()
		err := call.try(ctx)
		status := statusOf(err)
		if err == nil || err.Error() != call.why || status != http.StatusBadGateway && status != known {
			t.Errorf("%s, %s: got %d %v, want 502 or %d %s", call.call, kind, status, err, known, call.why)
			continue
		}
		// No status or text of these is one that makes a client create a key.
		for _, wrong := range []error{kes.ErrKeyNotFound, kes.ErrKeyExists, kes.ErrNotAllowed, kes.ErrDecrypt} {
			equal(t, wrong.Error(), errors.Is(err, wrong), false)
		}
		row(call.call, kind, fmt.Sprint(status), err.Error(), time.Since(start).Round(time.Millisecond).String())
	}
}

// uses is everything that can be done with a key that exists.
func uses(c *client, name string) []failure {
	return []failure{
		{call: "DescribeKey", try: func(ctx context.Context) error { _, err := c.DescribeKey(ctx, name); return err }},
		{call: "GenerateKey", try: func(ctx context.Context) error { _, err := c.GenerateKey(ctx, name, nil); return err }},
		{call: "Encrypt", try: func(ctx context.Context) error { _, err := c.Encrypt(ctx, name, []byte("text"), nil); return err }},
		{call: "Decrypt", try: func(ctx context.Context) error {
			_, err := c.Client.Decrypt(ctx, name, []byte("text"), nil)
			return err
		}},
		{call: "HMAC", try: func(ctx context.Context) error { _, err := c.HMAC(ctx, name, []byte("text")); return err }},
		{call: "DeleteKey", try: func(ctx context.Context) error { return c.DeleteKey(ctx, name) }},
	}
}

// lists is everything that takes a pattern.
func lists(c *client, pattern string) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"ListKeys":       func(ctx context.Context) error { _, _, err := c.ListKeys(ctx, pattern, -1); return err },
		"ListPolicies":   func(ctx context.Context) error { _, _, err := c.ListPolicies(ctx, pattern, -1); return err },
		"ListIdentities": func(ctx context.Context) error { _, _, err := c.ListIdentities(ctx, pattern, -1); return err },
	}
}

// everything is all calls that need a policy.
func everything(c *client, name string) map[string]func(ctx context.Context) error {
	all := lists(c, "a")
	for call, try := range lists(c, "") {
		all[call+" of all"] = try
	}
	for _, use := range uses(c, name) {
		all[use.call] = use.try
	}
	all["IsReady"] = func(ctx context.Context) error { _, err := c.IsReady(ctx); return err }
	all["Status"] = func(ctx context.Context) error { _, err := c.Status(ctx); return err }
	all["APIs"] = func(ctx context.Context) error { _, err := c.APIs(ctx); return err }
	all["Metrics"] = func(ctx context.Context) error { _, err := c.Metrics(ctx); return err }
	all["CreateKey"] = func(ctx context.Context) error { return c.CreateKey(ctx, name) }
	all["ImportKey"] = func(ctx context.Context) error {
		return c.ImportKey(ctx, name, &kes.ImportKeyRequest{Key: make([]byte, 32)})
	}
	all["DescribePolicy"] = func(ctx context.Context) error { _, err := c.DescribePolicy(ctx, "app"); return err }
	all["GetPolicy"] = func(ctx context.Context) error { _, err := c.GetPolicy(ctx, "app"); return err }
	all["DescribeIdentity"] = func(ctx context.Context) error { _, err := c.DescribeIdentity(ctx, c.identity); return err }
	all["AuditLog"] = func(ctx context.Context) error { _, err := c.AuditLog(ctx); return err }
	all["ErrorLog"] = func(ctx context.Context) error { _, err := c.ErrorLog(ctx); return err }
	return all
}

package sdk

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

// call is a method of the SDK's client and its expected result. `own` is a prefix for names that no other test uses.
type call struct {
	name string
	try  func(t *testing.T, ctx context.Context, c *client, own string)
}

// Every method of the SDK's client that the server has an API for, in an order in which keys come and go.
var calls = []call{
	{"Version", version},
	{"IsReady", isReady},
	{"Status", status},
	{"APIs", apis},
	{"Metrics", metrics},
	{"CreateKey", createKey},
	{"ImportKey", importKey},
	{"DescribeKey", describeKey},
	{"GenerateKey", generateKey},
	{"Encrypt", encrypt},
	{"Decrypt", decrypt},
	{"HMAC", hmac},
	{"ListKeys", listKeys},
	{"DeleteKey", deleteKey},
	{"DescribePolicy", describePolicy},
	{"GetPolicy", getPolicy},
	{"ListPolicies", listPolicies},
	{"DescribeIdentity", describeIdentity},
	{"DescribeSelf", describeSelf},
	{"ListIdentities", listIdentities},
	{"AuditLog", auditLog},
	{"ErrorLog", errorLog},
}

func TestEveryCallWorksOverBothProtocolsWithAPIKeysAndCertificates(t *testing.T) {
	// As in applications: only the API key, with the server's certificate among the system's roots.
	simple, err := kes.NewClient(setting(t, "KEYWAY_ENDPOINT"), apiKey(t, "ALL"))
	must(t, err)
	ofKey, err := kes.GenerateCertificate(apiKey(t, "ALL"))
	must(t, err)
	clients := []*client{
		wrap(t, "HTTP/2, API key", simple, apiKey(t, "ALL").Identity()),
		newClient(t, "HTTP/2, P-256 (admin)", certificate(t, "ADMIN")),
		newClient(t, "HTTP/2, RSA", certificate(t, "RSA")),
		newHTTP1Client(t, "HTTP/1.1, API key", ofKey),
		newHTTP1Client(t, "HTTP/1.1, P-256 (admin)", certificate(t, "ADMIN")),
	}
	titles := []string{"call"}
	for _, c := range clients {
		titles = append(titles, c.title)
	}
	row(titles...)
	for _, call := range calls {
		cells := []string{call.name}
		for number, c := range clients {
			result := "FAILED"
			t.Run(call.name+"/"+c.title, func(t *testing.T) {
				call.try(t, deadline(t), c, fmt.Sprintf("own-%d-", number))
				result = "ok"
				if call.name == "DescribeSelf" && !c.isAdmin {
					result = "unreadable" // see describeSelf
				}
			})
			cells = append(cells, result)
		}
		row(cells...)
	}
	for _, c := range clients {
		want := strings.ReplaceAll(strings.Split(c.title, ",")[0], "HTTP/2", "HTTP/2.0")
		if len(c.protocols) != 1 || c.protocols[want] == 0 {
			t.Errorf("%s: the answers came over %v", c.title, c.protocols)
		}
	}
}

func version(t *testing.T, ctx context.Context, c *client, _ string) {
	version, err := c.Version(ctx)
	must(t, err)
	equal(t, "version", version, setting(t, "KEYWAY_VERSION"))
}

func isReady(t *testing.T, ctx context.Context, c *client, _ string) {
	ready, err := c.IsReady(ctx)
	must(t, err)
	equal(t, "ready", ready, true)
}

func status(t *testing.T, ctx context.Context, c *client, _ string) {
	status, err := c.Status(ctx)
	must(t, err)
	equal(t, "version", status.Version, setting(t, "KEYWAY_VERSION"))
	equal(t, "os", status.OS, runtime.GOOS)
	equal(t, "arch", status.Arch, runtime.GOARCH)
	equal(t, "reachable", status.KeyStoreReachable, true)
	equal(t, "available", status.KeystoreAvailable, true)
	if status.CPUs < 1 || status.UsableCPUs < 1 || status.HeapAlloc == 0 || status.StackAlloc == 0 || status.KeyStoreLatency < 1 {
		t.Fatalf("an empty field: %+v", status)
	}
	if status.UpTime < 0 || status.UpTime > time.Hour {
		t.Fatalf("up for %v", status.UpTime)
	}
}

// The table of KES's HTTP API documentation.
const documented = `GET /version 0 10
GET /v1/ready 0 15
GET /v1/status 0 15
GET /v1/metrics 0 15
GET /v1/api 0 10
PUT /v1/key/create/ 0 15
PUT /v1/key/import/ 1048576 15
GET /v1/key/describe/ 0 15
DELETE /v1/key/delete/ 0 15
GET /v1/key/list/ 0 15
PUT /v1/key/generate/ 1048576 15
PUT /v1/key/encrypt/ 1048576 15
PUT /v1/key/decrypt/ 1048576 15
PUT /v1/key/hmac/ 1048576 15
GET /v1/policy/describe/ 0 15
GET /v1/policy/read/ 0 15
GET /v1/policy/list/ 0 15
GET /v1/identity/describe/ 0 15
GET /v1/identity/self/describe 0 15
GET /v1/identity/list/ 0 15
GET /v1/log/error 0 0
GET /v1/log/audit 0 0`

func apis(t *testing.T, ctx context.Context, c *client, _ string) {
	apis, err := c.APIs(ctx)
	must(t, err)
	var got []string
	for _, api := range apis {
		got = append(got, fmt.Sprintf("%s %s %d %d", api.Method, api.Path, api.MaxBody, int(api.Timeout.Seconds())))
	}
	for _, want := range strings.Split(documented, "\n") {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
}

// Fails too when the server has a metric of its own that the SDK cannot read: it takes only its three counters of
// requests with more than one label.
func metrics(t *testing.T, ctx context.Context, c *client, _ string) {
	before, err := c.Metrics(ctx)
	must(t, err)
	_, err = c.DescribeKey(ctx, "there-is-no-such-key")
	equal[error](t, "describe", err, kes.ErrKeyNotFound)
	after, err := c.Metrics(ctx)
	must(t, err)
	if after.RequestOK < before.RequestOK+1 || after.RequestErr < before.RequestErr+1 {
		t.Fatalf("requests are not counted: %+v, then %+v", before, after)
	}
	if after.RequestN() != after.RequestOK+after.RequestErr+after.RequestFail {
		t.Fatalf("the sum is %d: %+v", after.RequestN(), after)
	}
	if after.RequestActive < 1 || after.AuditEvents <= before.AuditEvents {
		t.Fatalf("active requests or audit events are not counted: %+v, then %+v", before, after)
	}
	if after.CPUs < 1 || after.UsableCPUs < 1 || after.Threads < 1 || after.HeapAlloc == 0 || after.StackAlloc == 0 {
		t.Fatalf("an empty gauge: %+v", after)
	}
	limits := slices.Sorted(maps.Keys(after.LatencyHistogram))
	var want []time.Duration
	for _, milliseconds := range []int{10, 50, 100, 250, 500, 1000, 1500, 3000, 5000, 10000} {
		want = append(want, time.Duration(milliseconds)*time.Millisecond)
	}
	if !slices.Equal(limits, want) {
		t.Fatalf("the limits of the histogram are %v", limits)
	}
	if after.LatencyHistogram[10*time.Second] == 0 {
		t.Fatalf("the histogram is empty: %v", after.LatencyHistogram)
	}
}

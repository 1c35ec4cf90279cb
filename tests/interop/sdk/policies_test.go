package sdk

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

func describePolicy(t *testing.T, ctx context.Context, c *client, _ string) {
	info, err := c.DescribePolicy(ctx, "app")
	must(t, err)
	equal(t, "name", info.Name, "app")
	fromStart(t, info.CreatedAt, info.CreatedBy)
}

func getPolicy(t *testing.T, ctx context.Context, c *client, _ string) {
	policy, err := c.GetPolicy(ctx, "app")
	must(t, err)
	fromStart(t, policy.CreatedAt, policy.CreatedBy)
	appPolicy(t, policy)
	open, err := c.GetPolicy(ctx, "all")
	must(t, err)
	equal(t, "app is a part of all", policy.IsSubset(open), true)
	equal(t, "all is a part of app", open.IsSubset(policy), false)
}

// appPolicy compares a policy with what the config says of `app`.
func appPolicy(t *testing.T, policy *kes.Policy) {
	t.Helper()
	allow, deny := slices.Sorted(maps.Keys(policy.Allow)), slices.Sorted(maps.Keys(policy.Deny))
	if !slices.Equal(allow, []string{"/v1/key/create/app*", "/v1/key/list/*", "/v1/status"}) {
		t.Fatalf("allow is %q", allow)
	}
	if !slices.Equal(deny, []string{"/v1/key/create/app-internal*"}) {
		t.Fatalf("deny is %q", deny)
	}
	for path, want := range map[string]error{
		"/v1/key/create/app-1":          nil,
		"/v1/key/create/app-internal-1": kes.ErrNotAllowed,
		"/v1/key/delete/app-1":          kes.ErrNotAllowed,
	} {
		equal(t, path, policy.Verify(&http.Request{URL: &url.URL{Path: path}}), want)
	}
}

func listPolicies(t *testing.T, ctx context.Context, c *client, _ string) {
	for prefix, want := range map[string][]string{"": {"all", "app"}, "*": {"all", "app"}, "ap": {"app"}, "x": {}} {
		names, next, err := c.ListPolicies(ctx, prefix, -1)
		must(t, err)
		equal(t, "the end", next, "")
		if !slices.Equal(names, want) {
			t.Fatalf("%q lists %q", prefix, names)
		}
	}
}

func describeIdentity(t *testing.T, ctx context.Context, c *client, _ string) {
	for name, policy := range map[string]string{"ALL": "all", "APP": "app"} {
		identity := apiKey(t, name).Identity()
		info, err := c.DescribeIdentity(ctx, identity)
		must(t, err)
		equal(t, "identity", info.Identity, identity)
		equal(t, "policy", info.Policy, policy)
		equal(t, "admin", info.IsAdmin, false)
		fromStart(t, info.CreatedAt, info.CreatedBy)
	}
	info, err := c.DescribeIdentity(ctx, kes.Identity(setting(t, "KEYWAY_ADMIN")))
	must(t, err)
	equal(t, "policy of the admin", info.Policy, "")
	equal(t, "admin", info.IsAdmin, true)
}

func describeSelf(t *testing.T, ctx context.Context, c *client, _ string) {
	info, policy, err := c.DescribeSelf(ctx)
	must(t, err)
	equal(t, "identity", info.Identity, c.identity)
	equal(t, "admin", info.IsAdmin, c.isAdmin)
	if age := time.Since(info.CreatedAt); age < -time.Second || age > time.Hour {
		t.Fatalf("created at %v", info.CreatedAt)
	}
	if c.isAdmin {
		equal(t, "policy", info.Policy, "")
		equal(t, "rules", len(policy.Allow)+len(policy.Deny), 0)
		return
	}
	known, err := c.DescribeIdentity(ctx, c.identity)
	must(t, err)
	equal(t, "policy", info.Policy, known.Policy)
	fromStart(t, info.CreatedAt, info.CreatedBy)
	want, err := c.GetPolicy(ctx, info.Policy)
	must(t, err)
	if !reflect.DeepEqual(policy.Allow, want.Allow) || !reflect.DeepEqual(policy.Deny, want.Deny) {
		t.Fatalf("got the rules %+v, want %+v", policy, want)
	}
}

func listIdentities(t *testing.T, ctx context.Context, c *client, _ string) {
	want := []kes.Identity{apiKey(t, "ALL").Identity(), apiKey(t, "APP").Identity(),
		identityOf(t, certificate(t, "RSA")), kes.Identity(setting(t, "KEYWAY_ADMIN"))}
	slices.Sort(want)
	for _, prefix := range []string{"", "*"} {
		identities, next, err := c.ListIdentities(ctx, prefix, -1)
		must(t, err)
		equal(t, "the end", next, "")
		if !slices.Equal(identities, want) {
			t.Fatalf("%q lists %q", prefix, identities)
		}
	}
	identities, _, err := c.ListIdentities(ctx, want[0].String()[:20], -1)
	must(t, err)
	if !slices.Equal(identities, want[:1]) {
		t.Fatalf("a prefix lists %q", identities)
	}
}

// fromStart checks the origin of policies and identities: the config, when the server started.
func fromStart(t *testing.T, at time.Time, by kes.Identity) {
	t.Helper()
	equal(t, "created by", by, kes.Identity(setting(t, "KEYWAY_ADMIN")))
	if age := time.Since(at); age < -time.Second || age > time.Hour {
		t.Fatalf("created at %v", at)
	}
}

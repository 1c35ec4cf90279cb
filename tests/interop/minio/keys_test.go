package minio

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

// keyStatus is MinIO's response about the state of a key: it generates a data key and decrypts it.
type keyStatus struct {
	KeyID         string `json:"key-id"`
	EncryptionErr string `json:"encryption-error"`
	DecryptionErr string `json:"decryption-error"`
}

// haveKey makes a key that is not there yet.
func (s server) haveKey(t testing.TB, name string) {
	t.Helper()
	if name != "" && !slices.Contains(s.keys(t, "*"), name) {
		s.createKey(t, name)
	}
}

// keys are the names of keys that MinIO lists.
func (s server) keys(t testing.TB, pattern string) []string {
	t.Helper()
	var listed []struct {
		Name string `json:"name"`
	}
	s.adminJSON(t, http.MethodGet, "/minio/kms/v1/key/list", url.Values{"pattern": {pattern}}, &listed)
	var names []string
	for _, key := range listed {
		names = append(names, key.Name)
	}
	return names
}

func TestKeysAreListedAndCreatedThroughTheAdminAPI(t *testing.T) {
	s, defaultKey := servers(t)[0], setting(t, "KEYWAY_DEFAULT_KEY")
	// Both generations of MinIO's API.
	for path, method := range map[string]string{"/minio/kms/v1/status": http.MethodGet, "/minio/admin/v3/kms/status": http.MethodPost} {
		var status struct {
			Name         string            `json:"name"`
			DefaultKeyID string            `json:"default-key-id"`
			Endpoints    map[string]string `json:"endpoints"`
		}
		s.adminJSON(t, method, path, nil, &status)
		equal(t, "kind", status.Name, "MinIO KES")
		equal(t, "default key", status.DefaultKeyID, defaultKey)
		equal(t, "state of the gateway", status.Endpoints[setting(t, "KEYWAY_ENDPOINT")], "online")
		row("admin API", path, "online")
	}
	var info struct {
		Services struct {
			KMSStatus []struct{ Status, Endpoint string }
		}
	}
	s.adminJSON(t, http.MethodGet, "/minio/admin/v3/info", nil, &info)
	if kms := info.Services.KMSStatus; len(kms) != 1 || kms[0].Status != "online" || kms[0].Endpoint != setting(t, "KEYWAY_ENDPOINT") {
		t.Fatalf("the server's information on its keys: %+v", kms)
	}
	row("admin API", "/minio/admin/v3/info", "online")
	var version struct{ Version string }
	s.adminJSON(t, http.MethodGet, "/minio/kms/v1/version", nil, &version)
	equal(t, "version", version.Version, setting(t, "KEYWAY_VERSION"))
	row("admin API", "/minio/kms/v1/version", version.Version)
	var apis []struct{ Method, Path string }
	s.adminJSON(t, http.MethodGet, "/minio/kms/v1/apis", nil, &apis)
	if !slices.ContainsFunc(apis, func(api struct{ Method, Path string }) bool { return api.Path == "/v1/key/generate/" }) {
		t.Fatalf("the APIs are %v", apis)
	}
	row("admin API", "/minio/kms/v1/apis", "the APIs of the gateway")

	for number, path := range []string{"/minio/kms/v1/key/create", "/minio/admin/v3/kms/key/create"} {
		name := []string{"made-1", "made-2"}[number]
		status, body := s.admin(t, http.MethodPost, path, url.Values{"key-id": {name}})
		if status != http.StatusOK {
			t.Fatalf("create %s: %d %s", name, status, body)
		}
		// MinIO knows that the key exists; that it makes an internal error of it is its own affair.
		status, body = s.admin(t, http.MethodPost, path, url.Values{"key-id": {name}})
		if status == http.StatusOK || !strings.Contains(body, "key with given key ID already exits") {
			t.Fatalf("create %s again: %d %s", name, status, body)
		}
		row("admin API", path, "created, and refused the second time")
	}
	for pattern, want := range map[string][]string{
		"made*": {"made-1", "made-2"}, "made-": {"made-1", "made-2"}, "made-2": {"made-2"}, "none*": nil,
	} {
		if names := s.keys(t, pattern); !slices.Equal(names, want) {
			t.Fatalf("%q lists %q", pattern, names)
		}
	}
	for _, pattern := range []string{"*", ""} {
		names := s.keys(t, pattern)
		for _, name := range []string{"made-1", "made-2", defaultKey} {
			if !slices.Contains(names, name) {
				t.Fatalf("%q does not list %s, only %q", pattern, name, names)
			}
		}
	}
	row("admin API", "/minio/kms/v1/key/list", "all keys, and those of a pattern")

	for _, path := range []string{"/minio/kms/v1/key/status", "/minio/admin/v3/kms/key/status"} {
		for name, want := range map[string]string{"": defaultKey, "made-1": "made-1"} {
			var status keyStatus
			s.adminJSON(t, http.MethodGet, path, url.Values{"key-id": {name}}, &status)
			equal(t, "state of a key", status, keyStatus{KeyID: want})
		}
		var status keyStatus
		s.adminJSON(t, http.MethodGet, path, url.Values{"key-id": {"none"}}, &status)
		equal(t, "state of no key", status, keyStatus{KeyID: "none", EncryptionErr: "key with given key ID does not exist"})
		row("admin API", path, "well, and not there")
	}

	ctx := deadline(t)
	must(t, s.MakeBucket(ctx, "admin", minio.MakeBucketOptions{}))
	_, err := s.try(ctx, t, "admin", "object", "none")
	equal(t, "an object under no key", minio.ToErrorResponse(err).Code, "kms:KeyNotFound")
	row("put", "SSE-KMS under a key that is not there", minio.ToErrorResponse(err).Code)
}

// try writes an object under a key, or with SSE-S3 when there is none.
func (s server) try(ctx context.Context, t testing.TB, bucket, name, key string) (minio.UploadInfo, error) {
	t.Helper()
	header := encrypt.NewSSE()
	if key != "" {
		var err error
		header, err = encrypt.NewSSEKMS(key, nil)
		must(t, err)
	}
	data := content(name, 1000)
	return s.PutObject(ctx, bucket, name, bytes.NewReader(data), 1000, minio.PutObjectOptions{ServerSideEncryption: header})
}

// The policy of MinIO at the gateway allows keys that begin with `app-`, but not to decrypt with `app-sealed`; the
// default key of the server is another one.
func TestWhatThePolicyDeniesIsDeniedToClients(t *testing.T) {
	s, ctx := servers(t)[0], deadline(t)
	must(t, s.MakeBucket(ctx, "denied", minio.MakeBucketOptions{}))
	for _, name := range []string{"app-open", "app-sealed"} {
		s.createKey(t, name)
	}
	denied := func(what string, err error) {
		t.Helper()
		answer := minio.ToErrorResponse(err)
		if answer.Code != "kms:NotAuthorized" || answer.StatusCode != http.StatusForbidden {
			t.Fatalf("%s: %d %s %v", what, answer.StatusCode, answer.Code, err)
		}
		row("denial", what, answer.Code, "403")
	}
	_, err := s.try(ctx, t, "denied", "open", "app-open")
	must(t, err)
	must(t, check(ctx, s, object{"denied", "open", "", 1000, sum(content("open", 1000)), "aws:kms", "app-open"}))
	row("denial", "put and get under a key that is allowed", "ok")

	_, err = s.try(ctx, t, "denied", "other", "other")
	denied("put under a key that is not allowed", err)
	_, err = s.try(ctx, t, "denied", "default", "")
	denied("put with SSE-S3, whose key is not allowed", err)
	_, err = s.try(ctx, t, "denied", "sealed", "app-sealed")
	must(t, err)
	reader, err := s.GetObject(ctx, "denied", "sealed", minio.GetObjectOptions{})
	must(t, err)
	_, err = reader.Read(make([]byte, 1))
	denied("get under a key that may not decrypt", err)
	to := minio.CopyDestOptions{Bucket: "denied", Object: "copied", Encryption: encrypt.NewSSE()}
	_, err = s.CopyObject(ctx, to, minio.CopySrcOptions{Bucket: "denied", Object: "open"})
	denied("copy to a key that is not allowed", err)

	status, body := s.admin(t, http.MethodPost, "/minio/kms/v1/key/create", url.Values{"key-id": {"other"}})
	if status == http.StatusOK || !strings.Contains(body, "insufficient permissions") {
		t.Fatalf("create a key that is not allowed: %d %s", status, body)
	}
	status, body = s.admin(t, http.MethodGet, "/minio/kms/v1/key/list", url.Values{"pattern": {"*"}})
	if status == http.StatusOK || !strings.Contains(body, "insufficient permissions") {
		t.Fatalf("list: %d %s", status, body)
	}
	// Nothing that was denied is there.
	for _, name := range []string{"other", "default", "copied"} {
		_, err := s.StatObject(ctx, "denied", name, minio.StatObjectOptions{})
		equal(t, name, minio.ToErrorResponse(err).Code, "NoSuchKey")
	}
}

// Package minio is an S3 client of MinIO servers that keep the keys of their objects in a running Keyway.
//
// tests/interop/minio.rs starts Keyway and MinIO and runs these tests; what they need comes in the environment. MinIO
// itself (AGPL-3.0) is a program of its own: nothing of it is imported here.
package minio

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
)

// Where MinIO is, unless a bucket says otherwise.
const region = "us-east-1"

// setting is what a test needs from the environment.
func setting(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run these tests by `cargo test --test keyway interop::minio`", name)
	}
	return value
}

// server is a MinIO server and its S3 client.
type server struct {
	*minio.Client
	address string
}

// servers are those whose addresses are in KEYWAY_MINIO, separated by commas.
func servers(t testing.TB) []server {
	t.Helper()
	var all []server
	for _, address := range strings.Split(setting(t, "KEYWAY_MINIO"), ",") {
		client, err := minio.New(address, &minio.Options{
			Creds:  credentials.NewStaticV4(setting(t, "KEYWAY_MINIO_USER"), setting(t, "KEYWAY_MINIO_PASSWORD"), ""),
			Region: region,
			// An error is a result here; a client that hides it would hide what the test is for.
			MaxRetries: 1,
		})
		must(t, err)
		all = append(all, server{Client: client, address: address})
	}
	return all
}

// admin calls MinIO's own API, as its administrator.
func (s server) admin(t testing.TB, method, path string, query url.Values) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(deadline(t), method, "http://"+s.address+path+"?"+query.Encode(), nil)
	must(t, err)
	request.Header.Set("X-Amz-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	request = signer.SignV4(*request, setting(t, "KEYWAY_MINIO_USER"), setting(t, "KEYWAY_MINIO_PASSWORD"), "", region)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(body)
}

// adminJSON reads a successful response.
func (s server) adminJSON(t testing.TB, method, path string, query url.Values, into any) {
	t.Helper()
	status, body := s.admin(t, method, path, query)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	must(t, json.Unmarshal([]byte(body), into))
}

// createKey makes a key through MinIO.
func (s server) createKey(t testing.TB, name string) {
	t.Helper()
	status, body := s.admin(t, http.MethodPost, "/minio/kms/v1/key/create", url.Values{"key-id": {name}})
	if status != http.StatusOK {
		t.Fatalf("create %s: %d %s", name, status, body)
	}
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
	fmt.Println("minio | " + strings.Join(cells, " | "))
}

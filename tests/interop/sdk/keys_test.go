package sdk

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

func createKey(t *testing.T, ctx context.Context, c *client, own string) {
	for _, name := range []string{"created", "created-2", "to-delete"} {
		must(t, c.CreateKey(ctx, own+name))
	}
}

func importKey(t *testing.T, ctx context.Context, c *client, own string) {
	for _, cipher := range []kes.KeyAlgorithm{kes.AES256, kes.ChaCha20} {
		name := own + "imported-" + cipher.String()
		must(t, c.ImportKey(ctx, name, &kes.ImportKeyRequest{Key: random(t, 32), Cipher: cipher}))
		info, err := c.DescribeKey(ctx, name)
		must(t, err)
		equal(t, "algorithm", info.Algorithm, cipher)
		roundTrip(t, ctx, c, name, random(t, 100), []byte("context"))
	}
}

func describeKey(t *testing.T, ctx context.Context, c *client, own string) {
	info, err := c.DescribeKey(ctx, own+"created")
	must(t, err)
	equal(t, "name", info.Name, own+"created")
	equal(t, "created by", info.CreatedBy, c.identity)
	if age := time.Since(info.CreatedAt); age < -time.Second || age > time.Minute {
		t.Fatalf("created at %v", info.CreatedAt)
	}
	if info.Algorithm != kes.AES256 && info.Algorithm != kes.ChaCha20 {
		t.Fatalf("algorithm %v", info.Algorithm)
	}
}

func generateKey(t *testing.T, ctx context.Context, c *client, own string) {
	for _, associated := range [][]byte{nil, []byte("bucket/object"), random(t, 4096)} {
		dek, err := c.GenerateKey(ctx, own+"created", associated)
		must(t, err)
		equal(t, "length of a data key", len(dek.Plaintext), 32)
		plaintext, err := c.Client.Decrypt(ctx, own+"created", dek.Ciphertext, associated)
		must(t, err)
		equal(t, "the same data key", bytes.Equal(plaintext, dek.Plaintext), true)
		other, err := c.GenerateKey(ctx, own+"created", associated)
		must(t, err)
		equal(t, "another data key each time", bytes.Equal(other.Plaintext, dek.Plaintext), false)
	}
}

func encrypt(t *testing.T, ctx context.Context, c *client, own string) {
	first, err := c.Encrypt(ctx, own+"created", []byte("text"), nil)
	must(t, err)
	second, err := c.Encrypt(ctx, own+"created", []byte("text"), nil)
	must(t, err)
	equal(t, "another ciphertext each time", bytes.Equal(first, second), false)
}

func decrypt(t *testing.T, ctx context.Context, c *client, own string) {
	for _, length := range []int{0, 1, 32, 33, 500_000} {
		roundTrip(t, ctx, c, own+"created", random(t, length), nil)
		roundTrip(t, ctx, c, own+"created-2", random(t, length), []byte("context"))
	}
}

func hmac(t *testing.T, ctx context.Context, c *client, own string) {
	sum := func(key, message string) string {
		sum, err := c.HMAC(ctx, own+key, []byte(message))
		must(t, err)
		equal(t, "length of an HMAC", len(sum), 32)
		return string(sum)
	}
	equal(t, "the same message", sum("created", "text") == sum("created", "text"), true)
	equal(t, "another message", sum("created", "text") == sum("created", ""), false)
	equal(t, "another key", sum("created", "text") == sum("created-2", "text"), false)
}

func listKeys(t *testing.T, ctx context.Context, c *client, own string) {
	want := []string{own + "created", own + "created-2", own + "imported-AES256", own + "imported-ChaCha20", own + "to-delete"}
	for _, prefix := range []string{own, own + "*"} {
		names, next, err := c.ListKeys(ctx, prefix, -1)
		must(t, err)
		equal(t, "the end", next, "")
		if !slices.Equal(names, want) {
			t.Fatalf("%q lists %q", prefix, names)
		}
	}
	// All keys: the SDK sends no slash at the end of the path then.
	for _, prefix := range []string{"", "*"} {
		names, _, err := c.ListKeys(ctx, prefix, -1)
		must(t, err)
		for _, name := range want {
			if !slices.Contains(names, name) {
				t.Fatalf("%q does not list %q, only %q", prefix, name, names)
			}
		}
	}
	names, next, err := c.ListKeys(ctx, own+"none", -1)
	must(t, err)
	if len(names) != 0 || next != "" {
		t.Fatalf("no key has the prefix, but %q, %q", names, next)
	}
}

func deleteKey(t *testing.T, ctx context.Context, c *client, own string) {
	must(t, c.DeleteKey(ctx, own+"to-delete"))
	_, err := c.DescribeKey(ctx, own+"to-delete")
	equal[error](t, "describe", err, kes.ErrKeyNotFound)
	must(t, c.CreateKey(ctx, own+"to-delete"))
	must(t, c.DeleteKey(ctx, own+"to-delete"))
}

// roundTrip encrypts and decrypts.
func roundTrip(t *testing.T, ctx context.Context, c *client, name string, plaintext, associated []byte) {
	t.Helper()
	ciphertext, err := c.Encrypt(ctx, name, plaintext, associated)
	must(t, err)
	decrypted, err := c.Client.Decrypt(ctx, name, ciphertext, associated)
	must(t, err)
	if !bytes.Equal(decrypted, plaintext) {
		t.Fatalf("%d bytes became %d others", len(plaintext), len(decrypted))
	}
}

func random(t *testing.T, length int) []byte {
	t.Helper()
	data := make([]byte, length)
	_, err := rand.Read(data)
	must(t, err)
	return data
}

package minio

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/sse"
)

// object is what was written, and how it must read.
type object struct {
	Bucket, Name, Version string
	Size                  int
	Sum                   string
	// Algorithm is that of the header: empty, AES256 or aws:kms.
	Algorithm string
	// Key is the key's name where the client may know it: with aws:kms.
	Key string
}

// Sizes that MinIO stores otherwise: nothing, inline with the metadata, a file, and in parts of 5 MiB.
var sizes = []int{0, 1, 1000, 1<<20 + 1, 11 << 20}

const partSize = 5 << 20

// content is text that is found on the drive if it is not encrypted.
func content(name string, size int) []byte {
	line := []byte("the plaintext of " + name + "\n")
	return bytes.Repeat(line, size/len(line)+1)[:size]
}

func sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// encryption is a way to ask for it.
type encryption struct {
	title, algorithm, key string
	header                encrypt.ServerSide
}

func (e encryption) hasContext() bool { return strings.Contains(e.title, "context") }

func encryptions(t testing.TB) []encryption {
	t.Helper()
	kms := func(key string, context any) encrypt.ServerSide {
		header, err := encrypt.NewSSEKMS(key, context)
		must(t, err)
		return header
	}
	// A key used only by this test.
	own := "key-of-" + setting(t, "KEYWAY_BUCKET")
	return []encryption{
		{"none", "", "", nil},
		{"SSE-S3", "AES256", "", encrypt.NewSSE()},
		{"SSE-KMS, default key", "aws:kms", setting(t, "KEYWAY_DEFAULT_KEY"), kms("", nil)},
		{"SSE-KMS, key-a, context", "aws:kms", "key-a", kms("key-a", map[string]string{"department": "finance", "a": "ü"})},
		{"SSE-KMS, own key", "aws:kms", own, kms(own, nil)},
	}
}

// writer writes objects and remembers them.
type writer struct {
	t       *testing.T
	ctx     context.Context
	server  server
	objects []object
}

// put writes an object. `want` is what it must be encrypted with.
func (w *writer) put(bucket, name string, size int, header encrypt.ServerSide, want encryption) {
	w.t.Helper()
	data := content(name, size)
	info, err := w.server.PutObject(w.ctx, bucket, name, bytes.NewReader(data), int64(size),
		minio.PutObjectOptions{ServerSideEncryption: header, PartSize: partSize})
	if err != nil {
		w.t.Fatalf("put %s/%s: %v", bucket, name, err)
	}
	w.remember(object{bucket, name, info.VersionID, size, sum(data), want.algorithm, want.key})
}

// copy makes an object of another one on the server.
func (w *writer) copy(from object, name string, want encryption) {
	w.t.Helper()
	to := minio.CopyDestOptions{Bucket: from.Bucket, Object: name, Encryption: want.header}
	if from.Name == name {
		// A copy onto itself needs something that changes.
		to.ReplaceMetadata, to.UserMetadata = true, map[string]string{"copied": "yes"}
	}
	info, err := w.server.CopyObject(w.ctx, to, minio.CopySrcOptions{Bucket: from.Bucket, Object: from.Name, VersionID: from.Version})
	if err != nil {
		w.t.Fatalf("copy %s to %s: %v", from.Name, name, err)
	}
	w.remember(object{from.Bucket, name, info.VersionID, from.Size, from.Sum, want.algorithm, want.key})
}

func (w *writer) remember(written object) {
	w.t.Helper()
	w.objects = append(w.objects, written)
	must(w.t, check(w.ctx, w.server, written))
}

func (w *writer) last() object { return w.objects[len(w.objects)-1] }

// check reads an object whole, in part, and its headers.
func check(ctx context.Context, s server, want object) error {
	options := minio.GetObjectOptions{VersionID: want.Version}
	reader, err := s.GetObject(ctx, want.Bucket, want.Name, options)
	if err != nil {
		return err
	}
	defer reader.Close()
	data, err := io.ReadAll(reader)
	if err != nil {
		return fmt.Errorf("get %s/%s: %w", want.Bucket, want.Name, err)
	}
	if len(data) != want.Size || sum(data) != want.Sum {
		return fmt.Errorf("%s/%s has other content: %d bytes", want.Bucket, want.Name, len(data))
	}
	info, err := s.StatObject(ctx, want.Bucket, want.Name, options)
	if err != nil {
		return fmt.Errorf("stat %s/%s: %w", want.Bucket, want.Name, err)
	}
	algorithm := info.Metadata.Get("X-Amz-Server-Side-Encryption")
	key := strings.TrimPrefix(info.Metadata.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"), "arn:aws:kms:")
	if algorithm != want.Algorithm || key != want.Key || info.Size != int64(want.Size) {
		return fmt.Errorf("%s/%s: %d bytes, encryption %q, key %q; want %+v", want.Bucket, want.Name, info.Size, algorithm, key, want)
	}
	if want.Size < 100 {
		return nil
	}
	from, to := want.Size/2, want.Size/2+50
	if err := options.SetRange(int64(from), int64(to)); err != nil {
		return err
	}
	part, err := s.GetObject(ctx, want.Bucket, want.Name, options)
	if err != nil {
		return err
	}
	defer part.Close()
	bytesOfPart, err := io.ReadAll(part)
	if err != nil {
		return fmt.Errorf("get a part of %s/%s: %w", want.Bucket, want.Name, err)
	}
	if !bytes.Equal(bytesOfPart, data[from:to+1]) {
		return fmt.Errorf("a part of %s/%s has other content", want.Bucket, want.Name)
	}
	return nil
}

// Writes objects in all ways into KEYWAY_BUCKET and buckets named after it, reads each back, looks on the drives, and
// leaves a list of them in KEYWAY_OBJECTS for TestObjectsAreReadable.
func TestObjectsOfAllKindsAreWritten(t *testing.T) {
	s := servers(t)[0]
	w := &writer{t: t, ctx: deadline(t), server: s}
	bucket := setting(t, "KEYWAY_BUCKET")
	kinds := encryptions(t)
	for _, kind := range kinds {
		s.haveKey(t, kind.key)
	}
	must(t, s.MakeBucket(w.ctx, bucket, minio.MakeBucketOptions{}))
	for _, kind := range kinds {
		for _, size := range sizes {
			w.put(bucket, fmt.Sprintf("%s/%d", kind.title, size), size, kind.header, kind)
		}
		row("put, get, stat, range", kind.title, fmt.Sprint(sizes)+" bytes, the last in parts of 5 MiB", "ok")
	}

	for _, from := range kinds {
		w.put(bucket, from.title+"/original", 1000, from.header, from)
		original := w.last()
		for _, to := range kinds {
			// MinIO keeps the context of the original for a copy that has none, and cannot read it then; with a key of
			// its own (MINIO_KMS_SECRET_KEY) just the same.
			if from.hasContext() && !to.hasContext() && to.algorithm != "AES256" {
				continue
			}
			w.copy(original, from.title+"/to "+to.title, to)
		}
		row("copy", "from "+from.title, "to each of the others", "ok")
	}
	w.put(bucket, "rotated", 1000, kinds[4].header, kinds[4])
	written := w.objects[:len(w.objects)-1] // the object is another one now
	w.copy(w.last(), "rotated", kinds[3])
	w.objects = append(written, w.last())
	row("copy onto itself", kinds[4].title+" to "+kinds[3].title, "ok")

	// Parts of other objects, each under a key of its own.
	var sources []minio.CopySrcOptions
	var joined []byte
	for _, kind := range kinds {
		name := kind.title + "/" + strconv.Itoa(sizes[4])
		sources = append(sources, minio.CopySrcOptions{Bucket: bucket, Object: name})
		joined = append(joined, content(name, sizes[4])...)
	}
	for _, to := range kinds[1:] {
		info, err := s.ComposeObject(w.ctx, minio.CopyDestOptions{Bucket: bucket, Object: "composed/" + to.title, Encryption: to.header}, sources...)
		must(t, err)
		w.remember(object{bucket, "composed/" + to.title, info.VersionID, len(joined), sum(joined), to.algorithm, to.key})
	}
	row("compose (multipart copy)", "of five objects under different keys", "to each of SSE-S3 and SSE-KMS", "ok")

	// What the bucket says, for clients that ask for nothing.
	for _, kind := range []encryption{kinds[1], kinds[4]} {
		name := bucket + "-" + strings.ToLower(strings.Split(kind.title, ",")[0])
		must(t, s.MakeBucket(w.ctx, name, minio.MakeBucketOptions{}))
		config := sse.NewConfigurationSSES3()
		if kind.key != "" {
			config = sse.NewConfigurationSSEKMS(kind.key)
		}
		must(t, s.SetBucketEncryption(w.ctx, name, config))
		must(t, s.EnableVersioning(w.ctx, name))
		for _, size := range sizes {
			w.put(name, "by default/"+strconv.Itoa(size), size, nil, kind)
		}
		for _, other := range kinds[1:] {
			w.put(name, "versions", 1000, other.header, other)
		}
		row("encryption of a bucket, versions", kind.title, "ok")
	}

	// The drives hold the plaintext of unencrypted objects, and of nothing else.
	for _, kind := range kinds {
		name := fmt.Sprintf("%s/%d", kind.title, 1<<20+1)
		equal(t, name+" is on the drive in plain", onDrive(t, content(name, 1000)), kind.header == nil)
	}
	text, err := json.MarshalIndent(w.objects, "", " ")
	must(t, err)
	must(t, os.WriteFile(setting(t, "KEYWAY_OBJECTS"), text, 0o600))
	row("objects", strconv.Itoa(len(w.objects)), "written and read")
}

// onDrive looks for text in all files of KEYWAY_DRIVE.
func onDrive(t *testing.T, text []byte) bool {
	t.Helper()
	found := errors.New("found")
	err := filepath.WalkDir(setting(t, "KEYWAY_DRIVE"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // files of MinIO come and go
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, text) {
			return found
		}
		return nil
	})
	return errors.Is(err, found)
}

// Reads everything that is listed in KEYWAY_OBJECTS, from every server.
func TestObjectsAreReadable(t *testing.T) {
	ctx := deadline(t)
	var objects []object
	text, err := os.ReadFile(setting(t, "KEYWAY_OBJECTS"))
	must(t, err)
	must(t, json.Unmarshal(text, &objects))
	for _, s := range servers(t) {
		for _, object := range objects {
			must(t, check(ctx, s, object))
		}
	}
	row("objects", strconv.Itoa(len(objects)), "readable", os.Getenv("KEYWAY_WHEN"))
}

package minio

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

// Clients that upload at once, and the number of uploads of each before and after the gateway is away.
const (
	clients = 4
	uploads = 25
)

// step tells the test that started this one that it has come so far.
func step(t *testing.T, name string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(setting(t, "KEYWAY_STEPS"), name), nil, 0o600))
}

// reached waits for a step of that test.
func reached(t *testing.T, name string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(setting(t, "KEYWAY_STEPS"), name))
	return err == nil
}

// While clients upload, the gateway is killed, is away for a while, and comes back. An upload that MinIO has
// acknowledged is readable, one that failed has left nothing, and a multipart upload goes on where it was.
func TestNoUploadIsLostWhenTheGatewayRestarts(t *testing.T) {
	s, ctx, bucket := servers(t)[0], deadline(t), setting(t, "KEYWAY_BUCKET")
	must(t, s.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}))
	kinds := encryptions(t)[1:]
	for _, kind := range kinds {
		s.haveKey(t, kind.key)
	}

	// Multipart uploads that are open all the time.
	core := minio.Core{Client: s.Client}
	part := func(kind encryption, number int) []byte { return content(fmt.Sprint(kind.title, number), partSize) }
	ids := map[string]string{}
	parts := map[string][]minio.CompletePart{}
	putPart := func(kind encryption, number int) error {
		data := part(kind, number)
		done, err := core.PutObjectPart(ctx, bucket, kind.title, ids[kind.title], number, bytes.NewReader(data), int64(len(data)), minio.PutObjectPartOptions{})
		if err == nil {
			parts[kind.title] = append(parts[kind.title], minio.CompletePart{PartNumber: number, ETag: done.ETag})
		}
		return err
	}
	for _, kind := range kinds {
		id, err := core.NewMultipartUpload(ctx, bucket, kind.title, minio.PutObjectOptions{ServerSideEncryption: kind.header})
		must(t, err)
		ids[kind.title] = id
		must(t, putPart(kind, 1))
	}

	var mutex sync.Mutex
	var written, failed []object
	reasons := map[string]int{}
	upload := func(client, number int) bool {
		kind := kinds[(client+number)%len(kinds)]
		name := fmt.Sprintf("%s/%d/%d", kind.title, client, number)
		data := content(name, 100_000)
		_, err := s.PutObject(ctx, bucket, name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{ServerSideEncryption: kind.header})
		mutex.Lock()
		defer mutex.Unlock()
		which := object{bucket, name, "", len(data), sum(data), kind.algorithm, kind.key}
		if err != nil {
			answer := minio.ToErrorResponse(err)
			reasons[fmt.Sprint(answer.StatusCode, " ", answer.Code)]++
			failed = append(failed, which)
			return false
		}
		written = append(written, which)
		return true
	}
	var all, begun sync.WaitGroup
	begun.Add(clients)
	for client := range clients {
		all.Go(func() {
			number := 0
			for ; number < uploads; number++ {
				upload(client, number)
			}
			begun.Done()
			for !reached(t, "back") && ctx.Err() == nil {
				upload(client, number)
				number++
			}
			for successes := 0; successes < uploads && ctx.Err() == nil; number++ {
				if upload(client, number) {
					successes++
				}
			}
		})
	}
	begun.Wait()
	mutex.Lock()
	before := len(failed)
	mutex.Unlock()
	equal(t, "failures while all is well", before, 0)
	step(t, "uploading")
	// A part that is sent while the gateway is away may fail; then it is sent again, as clients do.
	for _, kind := range kinds {
		for putPart(kind, 2) != nil {
			must(t, ctx.Err())
			time.Sleep(100 * time.Millisecond)
		}
	}
	all.Wait()
	must(t, ctx.Err())

	for _, kind := range kinds {
		must(t, putPart(kind, 3))
		_, err := core.CompleteMultipartUpload(ctx, bucket, kind.title, ids[kind.title], parts[kind.title], minio.PutObjectOptions{})
		must(t, err)
		data := slices.Concat(part(kind, 1), part(kind, 2), part(kind, 3))
		must(t, check(ctx, s, object{bucket, kind.title, "", len(data), sum(data), kind.algorithm, kind.key}))
	}
	for _, object := range written {
		must(t, check(ctx, s, object))
	}
	for _, object := range failed {
		if _, err := s.StatObject(ctx, bucket, object.Name, minio.StatObjectOptions{}); minio.ToErrorResponse(err).Code != "NoSuchKey" {
			// The response may have been lost, but then the object is complete.
			must(t, check(ctx, s, object))
		}
	}
	for reason := range reasons {
		if !strings.HasPrefix(reason, "5") {
			t.Errorf("uploads failed as if they were wrong: %v", reasons)
		}
	}
	row("restart", fmt.Sprint(len(written), " uploads acknowledged, all readable"),
		fmt.Sprint(len(failed), " failed, of which nothing is left"), fmt.Sprint(reasons),
		fmt.Sprint(len(kinds), " multipart uploads went on"))
}

// The servers are one store: what one writes, the other reads.
func TestServersShareTheirObjects(t *testing.T) {
	all, ctx := servers(t), deadline(t)
	must(t, all[0].MakeBucket(ctx, "shared", minio.MakeBucketOptions{}))
	for from, writer := range all {
		name := fmt.Sprint("from-", from)
		data := content(name, 2<<20)
		_, err := writer.PutObject(ctx, "shared", name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{ServerSideEncryption: encrypt.NewSSE()})
		must(t, err)
		for _, reader := range all {
			must(t, check(ctx, reader, object{"shared", name, "", len(data), sum(data), "AES256", ""}))
		}
	}
	row("two servers", "each reads what the other wrote under the default key", "ok")
}

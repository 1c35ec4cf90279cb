package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

// auditLog makes calls of its own, and finds their events in order.
func auditLog(t *testing.T, ctx context.Context, c *client, own string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.AuditLog(ctx)
	must(t, err)
	defer stream.Close()
	_, err = c.DescribeKey(ctx, own+"audited")
	equal[error](t, "describe", err, kes.ErrKeyNotFound)
	must(t, c.CreateKey(ctx, own+"audited"))
	_, err = c.GenerateKey(ctx, own+"audited", nil)
	must(t, err)
	must(t, c.DeleteKey(ctx, own+"audited"))
	for _, want := range []struct {
		api  string
		code int
	}{{"describe", 404}, {"create", 200}, {"generate", 200}, {"delete", 200}} {
		for {
			if !stream.Next() {
				t.Fatalf("the stream ends before %v: %v", want, stream.Close())
			}
			event := stream.Event()
			if event.ClientIdentity != c.identity || !strings.HasSuffix(event.APIPath, own+"audited") {
				continue
			}
			equal(t, "path", event.APIPath, "/v1/key/"+want.api+"/"+own+"audited")
			equal(t, "status", event.StatusCode, want.code)
			equal(t, "client", event.ClientIP.Equal(net.IPv4(127, 0, 0, 1)), true)
			if age := time.Since(event.Timestamp); age < -time.Second || age > time.Minute {
				t.Fatalf("the time is %v", event.Timestamp)
			}
			// The documentation promises microseconds; the SDK takes the number as nanoseconds.
			if took := event.ResponseTime * 1000; took <= 0 || took > time.Minute {
				t.Fatalf("the response took %v", took)
			}
			break
		}
	}
}

// errorLog makes the server refuse a stranger, which it tells its error stream.
func errorLog(t *testing.T, ctx context.Context, c *client, own string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.ErrorLog(ctx)
	must(t, err)
	defer stream.Close()
	nobody := stranger(t)
	equal[error](t, "create", nobody.CreateKey(ctx, own+"refused"), kes.ErrNotAllowed)
	for {
		if !stream.Next() {
			t.Fatalf("the stream ends before the event: %v", stream.Close())
		}
		message := stream.Message()
		if strings.Contains(message, "/v1/key/create/"+own+"refused") {
			equal(t, "the event contains the refused identity", strings.Contains(message, nobody.identity.String()), true)
			return
		}
	}
}

func TestStreamsHoldEveryEventUntilTheyEnd(t *testing.T) {
	const calls = 500
	ctx, c := deadline(t), admin(t)
	pid, err := strconv.Atoi(setting(t, "KEYWAY_PID"))
	must(t, err)
	audit, err := c.AuditLog(ctx)
	must(t, err)
	copied, err := c.AuditLog(ctx)
	must(t, err)
	failed, err := c.ErrorLog(ctx)
	must(t, err)

	text := make(chan string)
	go func() {
		var all bytes.Buffer
		written, err := copied.WriteTo(&all)
		if err != nil || written != int64(all.Len()) {
			t.Errorf("WriteTo: %d bytes of %d, %v", written, all.Len(), err)
		}
		text <- all.String()
	}()
	paths := make(chan []string)
	go func() {
		var all []string
		for audit.Next() {
			all = append(all, audit.Event().APIPath)
		}
		paths <- all
	}()
	messages := make(chan []string)
	go func() {
		var all []string
		for failed.Next() {
			all = append(all, failed.Event().Message)
		}
		messages <- all
	}()

	nobody := stranger(t)
	must(t, c.CreateKey(ctx, "key"))
	for number := range calls {
		if number%10 == 0 {
			equal[error](t, "delete", nobody.DeleteKey(ctx, fmt.Sprintf("key-%d", number)), kes.ErrNotAllowed)
			continue
		}
		_, err := c.GenerateKey(ctx, "key", nil)
		must(t, err)
	}
	// The server ends, and its streams with it: for the SDK that is their end, not an error.
	must(t, syscall.Kill(pid, syscall.SIGTERM))

	seen := <-paths
	must(t, audit.Close())
	count := func(part string, lines []string) (count int) {
		for _, line := range lines {
			if strings.Contains(line, part) {
				count++
			}
		}
		return count
	}
	equal(t, "events of generate", count("/v1/key/generate/key", seen), calls-calls/10)
	equal(t, "events of refused deletes", count("/v1/key/delete/key-", seen), calls/10)
	lines := strings.Split(strings.TrimSpace(<-text), "\n")
	equal(t, "copied events", count("/v1/key/generate/key", lines), calls-calls/10)
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %q", line)
		}
	}
	refused := <-messages
	must(t, failed.Close())
	equal(t, "error events of refused deletes", count("/v1/key/delete/key-", refused), calls/10)
	row("AuditLog", strconv.Itoa(len(seen))+" events", "none missing", "ends with the server, without an error")
	row("AuditLog, WriteTo", strconv.Itoa(len(lines))+" events", "none missing", "ends with the server, without an error")
	row("ErrorLog", strconv.Itoa(len(refused))+" events", "none missing", "ends with the server, without an error")
}

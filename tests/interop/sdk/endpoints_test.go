package sdk

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

// deadEndpoint is an address without a server.
func deadEndpoint(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return "https://" + listener.Addr().String()
}

func TestADeadEndpointCostsNoCall(t *testing.T) {
	ctx, live := deadline(t), setting(t, "KEYWAY_ENDPOINT")
	for title, endpoints := range map[string][]string{
		"the first of two is dead":   {deadEndpoint(t), live},
		"the second of two is dead":  {live, deadEndpoint(t)},
		"all but one of four are":    {deadEndpoint(t), deadEndpoint(t), live, deadEndpoint(t)},
		"one has a name that is not": {"https://keyway.invalid:7373", live},
	} {
		c := newClient(t, title, certificate(t, "ADMIN"), endpoints...)
		name := "key-" + strconv.FormatInt(time.Now().UnixNano(), 36)
		start := time.Now()
		must(t, c.CreateKey(ctx, name))
		for range 300 {
			roundTrip(t, ctx, c, name, []byte("text"), nil)
		}
		must(t, c.DeleteKey(ctx, name))
		row("load balancing", title, "602 calls, none failed", time.Since(start).Round(time.Millisecond).String())
	}
}

// Two gateways share a store. One is killed while it is used.
func TestAnEndpointThatDiesCostsNoCall(t *testing.T) {
	ctx := deadline(t)
	pid, err := strconv.Atoi(setting(t, "KEYWAY_PID"))
	must(t, err)
	// The one that dies comes first: the SDK uses the first endpoint as long as it responds.
	c := newClient(t, "two gateways", certificate(t, "ADMIN"), setting(t, "KEYWAY_DYING_ENDPOINT"), setting(t, "KEYWAY_ENDPOINT"))
	start, created := time.Now(), 0
	for round := range 200 {
		if round == 100 {
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		name := "key-" + strconv.Itoa(round)
		// A create that is tried again at the other gateway may find that it was done.
		if err := c.CreateKey(ctx, name); err != nil && !errors.Is(err, kes.ErrKeyExists) {
			t.Fatal(err)
		}
		created++
		roundTrip(t, ctx, c, name, []byte("text"), nil)
	}
	names := collect(t, ctx, &kes.ListIter[string]{NextFunc: c.ListKeys}, "key-")
	equal(t, "keys", len(names), created)
	row("load balancing", "one of two gateways is killed", "600 calls, none failed", time.Since(start).Round(time.Millisecond).String())
}

package sdk

import (
	"context"
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

// The store holds KEYWAY_KEYS keys whose names begin with `list-`, long enough that they need several answers of the
// 1 MiB that the SDK reads, and one on either side of them.
func TestIteratorsSeeEveryKeyOnceAndInOrder(t *testing.T) {
	ctx, c := deadline(t), admin(t)
	count, err := strconv.Atoi(setting(t, "KEYWAY_KEYS"))
	must(t, err)
	for _, list := range []struct {
		prefix string
		want   int
	}{{"", count + 2}, {"*", count + 2}, {"list-", count}, {"list-*", count}, {"list-00", min(count, 1000)}, {"none", 0}} {
		start, pages := time.Now(), 0
		next := func(ctx context.Context, prefix string, n int) ([]string, string, error) {
			pages++
			return c.ListKeys(ctx, prefix, n)
		}
		iterator := &kes.ListIter[string]{NextFunc: next}
		names := collect(t, ctx, iterator, list.prefix)
		equal(t, "names of '"+list.prefix+"'", len(names), list.want)
		for number := 1; number < len(names); number++ {
			if names[number-1] >= names[number] {
				t.Fatalf("%q comes before %q", names[number-1], names[number])
			}
		}
		if list.want > 1000 && pages < 2 {
			t.Fatalf("%d names came in %d page", len(names), pages)
		}
		row("ListIter over ListKeys", "prefix '"+list.prefix+"'", strconv.Itoa(len(names))+" names", strconv.Itoa(pages)+" pages",
			time.Since(start).Round(time.Millisecond).String())
		// The iterator can be used again from another place.
		again, err := iterator.SeekTo(ctx, "list-00000")
		must(t, err)
		equal(t, "the first name after a seek", again[:10], "list-00000")
	}

	policies := collect(t, ctx, &kes.ListIter[string]{NextFunc: c.ListPolicies}, "")
	equal(t, "policies", len(policies), 2)
	identities := collect(t, ctx, &kes.ListIter[kes.Identity]{NextFunc: c.ListIdentities}, "")
	equal(t, "identities", len(identities), 4)
	row("ListIter over ListPolicies and ListIdentities", strconv.Itoa(len(policies)), strconv.Itoa(len(identities)))
}

// collect takes all items from `prefix` on.
func collect[T any](t *testing.T, ctx context.Context, iterator *kes.ListIter[T], prefix string) []T {
	t.Helper()
	var items []T
	item, err := iterator.SeekTo(ctx, prefix)
	for ; err == nil; item, err = iterator.Next(ctx) {
		items = append(items, item)
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return items
}

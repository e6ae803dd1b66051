// Package export_wasi_cli_run is the export wasi:cli/run of a component: the script that the consumers in every language
// do, a line of output a step. The bindings name the package.
package export_wasi_cli_run

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"strings"

	minisnap "wit_component/arcella_minisnap_snapshot_store"

	. "go.bytecodealliance.org/pkg/wit/types"
)

const (
	// Non-ASCII text, plain and escaped, and every other escape.
	text = `{"é":"日本語 \u00e9 \ud83d\ude00 \"\\\/\b\f\n\r\t","😀":"𝄞"}`
	// Numbers that a 64-bit floating-point number does not hold.
	numbers        = `{"big":123456789012345678901234567890,"above 2^53":9007199254740993,"float":1.0e400}`
	maxSeq  uint64 = math.MaxUint64
)

// A state in pieces that are cut inside a character.
var pieces = [][]byte{[]byte("[\"caf\xc3"), []byte("\xa9\","), []byte(" 1]")}

// Run is called by the bindings.
func Run() Result[Unit, Unit] {
	// A collection that begins while a result arrives reads the clock, and the component model ends who calls out then:
	// so there is none but between two calls, where this program asks for it.
	debug.SetGCPercent(-1)
	fmt.Println("open ../x:", done(minisnap.Open("../x")))
	fmt.Println("open agent-7:", done(minisnap.Open("agent-7")))
	fmt.Println("names:", show(minisnap.Names(), func(names []string) string { return fmt.Sprint(len(names)) }))
	store := minisnap.Open("").Ok()
	defer store.Drop()
	fmt.Println("newest-seq:", number(store.NewestSeq()))
	fmt.Println("restore:", restored(store.Restore()))
	fmt.Println("create 7:", done(store.Create(`{"counter":1}`, 7)))
	fmt.Println("restore:", restored(store.Restore()))
	fmt.Println("newest-seq:", number(store.NewestSeq()))

	fmt.Println("create 6:", done(store.Create("{}", 6)))
	fmt.Println("create 8, not JSON:", done(store.Create(`{"counter":}`, 8)))
	fmt.Println("create 8, text:", done(store.Create(text, 8)))
	fmt.Println("restore:", restored(store.Restore()))
	fmt.Println("create 9, numbers:", done(store.Create(numbers, 9)))
	fmt.Println("restore:", restored(store.Restore()))

	large := `"` + strings.Repeat("é", 2621439) + `"`
	fmt.Printf("create 10, %d bytes: %s\n", len(large), done(store.Create(large, 10)))
	fmt.Println("restore:", same(store.Restore(), large))
	runtime.GC()

	fmt.Println("stream 11:", stream(store, 11))
	fmt.Println("restore:", restored(store.Restore()))
	abandon(store, 12)
	fmt.Println("restore, after the writer was dropped:", restored(store.Restore()))
	fmt.Println("discard 12:", discard(store, 12))
	fmt.Println("read in pieces:", readInPieces(store))

	fmt.Printf("create %d: %s\n", maxSeq, done(store.Create("null", maxSeq)))
	fmt.Println("restore:", restored(store.Restore()))
	fmt.Printf("create %d: %s\n", maxSeq-1, done(store.Create("null", maxSeq-1)))
	fmt.Println("generations:", generations(store))
	fmt.Println("restore-at 10:", same(store.RestoreAt(10), large))
	fmt.Println("restore-at 7:", restored(store.RestoreAt(7)))
	fmt.Println("oldest-kept:", number(store.OldestKept()))
	return Ok[Unit, Unit](Unit{})
}

// show describes an error, or what was returned.
func show[T any](result Result[T, minisnap.Error], describeOk func(T) string) string {
	if result.IsErr() {
		return describe(result.Err())
	}
	return describeOk(result.Ok())
}

// showSome is show of what may be none.
func showSome[T any](result Result[Option[T], minisnap.Error], describeSome func(T) string) string {
	return show(result, func(option Option[T]) string {
		if option.IsNone() {
			return "none"
		}
		return describeSome(option.Some())
	})
}

func done[T any](result Result[T, minisnap.Error]) string {
	return show(result, func(T) string { return "ok" })
}

func number(result Result[Option[uint64], minisnap.Error]) string {
	return showSome(result, func(seq uint64) string { return fmt.Sprint(seq) })
}

func restored(result Result[Option[minisnap.Snapshot], minisnap.Error]) string {
	return showSome(result, func(snapshot minisnap.Snapshot) string {
		return fmt.Sprintf("%d %s %s", snapshot.Seq, soundness(snapshot.Soundness), oneLine(snapshot.State))
	})
}

// same is restored of a state that is too large to be printed.
func same(result Result[Option[minisnap.Snapshot], minisnap.Error], state string) string {
	return showSome(result, func(snapshot minisnap.Snapshot) string {
		if snapshot.State == state {
			return fmt.Sprint(snapshot.Seq, " as created")
		}
		return fmt.Sprint(snapshot.Seq, " changed")
	})
}

func stream(store *minisnap.Store, seq uint64) string {
	opened := store.OpenWriter(seq)
	if opened.IsErr() {
		return describe(opened.Err())
	}
	writer := opened.Ok()
	for _, piece := range pieces {
		if written := writer.Write(piece); written.IsErr() {
			writer.Drop()
			return describe(written.Err())
		}
	}
	return done(minisnap.SnapshotWriterCommit(writer))
}

func abandon(store *minisnap.Store, seq uint64) {
	writer := store.OpenWriter(seq).Ok()
	writer.Write(pieces[0]).Ok()
	fmt.Printf("create %d, beside a writer: %s\n", seq, done(store.Create("{}", seq)))
	writer.Drop()
}

// discard discards two writers: the second would be busy if the first were still open.
func discard(store *minisnap.Store, seq uint64) string {
	for range 2 {
		opened := store.OpenWriter(seq)
		if opened.IsErr() {
			return describe(opened.Err())
		}
		writer := opened.Ok()
		writer.Write(pieces[0]).Ok()
		minisnap.SnapshotWriterDiscard(writer)
	}
	return "ok"
}

func readInPieces(store *minisnap.Store) string {
	return showSome(store.OpenReader(), func(reader *minisnap.SnapshotReader) string {
		defer reader.Drop()
		info := reader.Info()
		var state bytes.Buffer
		for count := 0; ; count++ {
			read := reader.Read(5)
			if read.IsErr() {
				return describe(read.Err())
			}
			if len(read.Ok()) == 0 {
				return fmt.Sprintf("%d of %d bytes in %d: %s", info.Seq, info.Size, count, oneLine(state.String()))
			}
			state.Write(read.Ok())
		}
	})
}

func generations(store *minisnap.Store) string {
	return show(store.Generations(), func(infos []minisnap.SnapshotInfo) string {
		var generations []string
		for _, info := range infos {
			generations = append(generations, fmt.Sprintf("%d %d bytes %s", info.Seq, info.Size, soundness(info.Soundness)))
		}
		return strings.Join(generations, ", ")
	})
}

func soundness(soundness minisnap.Soundness) string {
	switch soundness.Tag() {
	case minisnap.Soundness_Verified:
		return "verified"
	case minisnap.Soundness_Unverified:
		return "unverified"
	case minisnap.Soundness_Damaged:
		return "damaged: " + soundness.Damaged()
	default:
		return "unreadable: " + soundness.Unreadable()
	}
}

func oneLine(state string) string {
	return strings.ReplaceAll(state, "\n", "|")
}

func describe(err minisnap.Error) string {
	switch err.Tag() {
	case minisnap.Error_InvalidName:
		return "invalid-name: " + err.InvalidName()
	case minisnap.Error_InvalidState:
		return "invalid-state: " + err.InvalidState()
	case minisnap.Error_Stale:
		return fmt.Sprint("stale: ", err.Stale())
	case minisnap.Error_TooLarge:
		return fmt.Sprint("too-large: ", err.TooLarge())
	case minisnap.Error_Corrupt:
		return "corrupt: " + err.Corrupt()
	case minisnap.Error_NoSpace:
		return "no-space: " + err.NoSpace()
	case minisnap.Error_AccessDenied:
		return "access-denied: " + err.AccessDenied()
	case minisnap.Error_Busy:
		return "busy: " + err.Busy()
	case minisnap.Error_InDoubt:
		return "in-doubt: " + err.InDoubt()
	default:
		return "io: " + err.Io()
	}
}

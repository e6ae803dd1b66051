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

	store "wit_component/arcella_minisnap_snapshot_store"

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
	exists()
	fmt.Println("restore:", restored(store.Restore()))
	fmt.Println("create 7:", done(store.Create(`{"counter":1}`, 7)))
	fmt.Println("restore:", restored(store.Restore()))
	exists()

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

	fmt.Println("stream 11:", stream(11))
	fmt.Println("restore:", restored(store.Restore()))
	abandon(12)
	fmt.Println("restore, after the writer was dropped:", restored(store.Restore()))
	fmt.Println("read in pieces:", readInPieces())

	fmt.Printf("create %d: %s\n", maxSeq, done(store.Create("null", maxSeq)))
	fmt.Println("restore:", restored(store.Restore()))
	fmt.Printf("create %d: %s\n", maxSeq-1, done(store.Create("null", maxSeq-1)))
	fmt.Println("list:", list())
	fmt.Println("restore-at 10:", same(store.RestoreAt(10), large))
	fmt.Println("restore-at 7:", restored(store.RestoreAt(7)))
	fmt.Println("oldest-kept:", show(store.OldestKept(), func(seq uint64) string { return fmt.Sprint(seq) }))
	return Ok[Unit, Unit](Unit{})
}

// show describes an error, or what was returned.
func show[T any](result Result[T, store.Error], describeOk func(T) string) string {
	if result.IsErr() {
		return describe(result.Err())
	}
	return describeOk(result.Ok())
}

func done(result Result[Unit, store.Error]) string {
	return show(result, func(Unit) string { return "ok" })
}

func restored(result Result[store.Snapshot, store.Error]) string {
	return show(result, func(snapshot store.Snapshot) string {
		return fmt.Sprint(snapshot.Seq, " ", oneLine(snapshot.State))
	})
}

// same is restored of a state that is too large to be printed.
func same(result Result[store.Snapshot, store.Error], state string) string {
	return show(result, func(snapshot store.Snapshot) string {
		if snapshot.State == state {
			return fmt.Sprint(snapshot.Seq, " as created")
		}
		return fmt.Sprint(snapshot.Seq, " changed")
	})
}

func exists() {
	fmt.Println("exists:", show(store.Exists(), func(exists bool) string { return fmt.Sprint(exists) }))
}

func stream(seq uint64) string {
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
	return done(store.SnapshotWriterCommit(writer))
}

func abandon(seq uint64) {
	writer := store.OpenWriter(seq).Ok()
	writer.Write(pieces[0]).Ok()
	fmt.Printf("create %d, beside a writer: %s\n", seq, done(store.Create("{}", seq)))
	writer.Drop()
}

func readInPieces() string {
	opened := store.OpenReader()
	if opened.IsErr() {
		return describe(opened.Err())
	}
	reader := opened.Ok()
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
}

func list() string {
	return show(store.List(), func(infos []store.SnapshotInfo) string {
		var generations []string
		for _, info := range infos {
			layout := "numbered"
			if info.Layout == store.Layout_Pair {
				layout = "pair"
			}
			soundness := "verified"
			switch info.Soundness.Tag() {
			case store.Soundness_Unverified:
				soundness = "unverified"
			case store.Soundness_Damaged:
				soundness = "damaged: " + info.Soundness.Damaged()
			case store.Soundness_Unreadable:
				soundness = "unreadable: " + info.Soundness.Unreadable()
			}
			generations = append(generations, fmt.Sprintf("%d %s %d bytes %s", info.Seq, layout, info.Size, soundness))
		}
		return strings.Join(generations, ", ")
	})
}

func oneLine(state string) string {
	return strings.ReplaceAll(state, "\n", "|")
}

func describe(err store.Error) string {
	switch err.Tag() {
	case store.Error_NotFound:
		return "not-found"
	case store.Error_InvalidState:
		return "invalid-state: " + err.InvalidState()
	case store.Error_Stale:
		return fmt.Sprint("stale: ", err.Stale())
	case store.Error_TooLarge:
		return fmt.Sprint("too-large: ", err.TooLarge())
	case store.Error_Corrupt:
		return "corrupt: " + err.Corrupt()
	case store.Error_NoSpace:
		return "no-space"
	case store.Error_AccessDenied:
		return "access-denied"
	case store.Error_Busy:
		return "busy"
	default:
		return "io: " + err.Io()
	}
}

package schema

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestLookups: what a look-up takes does not grow with what is beside what is looked for.
func TestLookups(t *testing.T) {
	took := func(enums int) time.Duration {
		text := `name: "a" message_type { name: "M" nested_type { name: "N" }`
		for i := range enums {
			text += fmt.Sprintf(` enum_type { name: "E%d" value { name: "V%d" number: 0 } }`, i, i)
		}
		file, err := protodesc.NewFile(fileOf(t, text+"}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		x := newIndex()
		if err := x.add(file); err != nil {
			t.Fatal(err)
		}
		least := time.Hour
		for range 5 {
			began := time.Now()
			for range 1000 {
				if d, err := x.FindDescriptorByName("M.N"); err != nil || d.FullName() != "M.N" {
					t.Fatalf("got %v, %v", d, err)
				}
			}
			least = min(least, time.Since(began))
		}
		return least
	}
	if few, many := took(1), took(MaxEnums); many > 20*few {
		t.Errorf("1,000 look-ups took %v beside %d enums, %v beside one", many, MaxEnums, few)
	}
}

// TestIndex: an index finds all types, however deep, and nothing else.
func TestIndex(t *testing.T) {
	file, err := protodesc.NewFile(fileOf(t, `name: "a" package: "p.q" enum_type { name: "E" value { name: "V" number: 0 } }
		message_type { name: "M" field { name: "f" number: 1 label: LABEL_OPTIONAL type: TYPE_BOOL }
			enum_type { name: "E" value { name: "W" number: 0 } } nested_type { name: "N" nested_type { name: "O" } } }`), nil)
	if err != nil {
		t.Fatal(err)
	}
	x := newIndex()
	if err := x.add(file); err != nil {
		t.Fatal(err)
	}
	if err := x.add(file); err == nil {
		t.Error("a file was taken twice")
	}
	for name, found := range map[protoreflect.FullName]bool{
		"p.q.E": true, "p.q.M": true, "p.q.M.E": true, "p.q.M.N": true, "p.q.M.N.O": true,
		"p.q": false, "p.q.V": false, "p.q.M.f": false, "p.q.M.W": false, "M": false, "": false,
	} {
		if d, err := x.FindDescriptorByName(name); found != (err == nil) || found && d.FullName() != name {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}
